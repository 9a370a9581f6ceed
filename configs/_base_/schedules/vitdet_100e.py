# ViTDet's schedule: 100 epochs at a total batch of 64, AdamW 1e-4, weight decay 0.1, rates that fall by 0.7 from block
# to block, 250 iterations of warm-up, steps at 89 and 96 (after 163889 and 177546 of ViTDet's 184375 iterations).
_base_ = './adamw_1x.py'
optim_wrapper = dict(
    constructor='LayerDepthDecayConstructor',
    optimizer=dict(lr=1e-4, weight_decay=0.1),
    paramwise_cfg=dict(_delete_=True, decay_rate=0.7))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=100, milestones=[89, 96], gamma=0.1),
]
train_cfg = dict(max_epochs=100, val_interval=5)
auto_scale_lr = dict(base_batch_size=64)
