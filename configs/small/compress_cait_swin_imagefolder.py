# CAIT on the small Swin of swin_imagefolder.py (folded by tools/fold.py), in a short run: 35.4 % of the MACs saved,
# as the paper saves on Swin-Tiny.
_base_ = './swin_imagefolder.py'
model = dict(
    backbone=dict(_base_.small_swin.trained, **_base_.small_swin.atme),
    distillation=dict(alpha=0.5),
    cdcp=dict(target=0.354, start='calibrated', rule='proximal', start_epoch=1, step=None, interval=5))
optim_wrapper = dict(optimizer=dict(lr=3e-4), paramwise_cfg=dict(compactor_lr_mult=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=1, end=10, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10)
