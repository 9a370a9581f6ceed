# Quick start: CAIT on the classifier of compress_deit_scenes.py (exported by tools/fold.py): merges before blocks 2 and
# 5 save 45 % of the MACs, pruned channels the rest of 55 %.
_base_ = './compress_deit_scenes.py'
model = dict(
    backbone=dict(
        merge=((2, 'horizontal'), (5, 'vertical')),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_scenes.pth')),
    distillation=dict(alpha=0.5),
    cdcp=dict(target=0.55, start='calibrated', rule='proximal', start_epoch=1, step=None, interval=5))
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(compactor_lr_mult=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=8, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8)
