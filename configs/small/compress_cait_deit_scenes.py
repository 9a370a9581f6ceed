# Quick start: CAIT on the classifier of deit_scenes.py (folded by tools/fold.py): merges save 45 % of the MACs,
# pruned channels the rest of 55 %.
_base_ = './deit_scenes.py'
model = dict(
    backbone=dict(_base_.small_vit.trained, **_base_.small_vit.atme),
    distillation=dict(alpha=0.5),
    cdcp=dict(target=0.55, start='calibrated', rule='proximal', start_epoch=1, step=None, interval=5))
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(compactor_lr_mult=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=1, end=8, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=8)
