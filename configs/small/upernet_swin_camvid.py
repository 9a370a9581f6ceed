# The small Swin of swin_imagefolder.py + a narrow UperNet (64 channels) on CamVid, for two CPU cores: 320x320 crops,
# batch 4, 300 iterations at 3e-4.
_base_ = [
    '../_base_/models/upernet_swin.py', '../_base_/backbones/small_swin.py', '../_base_/datasets/camvid.py',
    '../_base_/schedules/adamw_160k.py', '../_base_/seg_runtime.py'
]
crop_size = (320, 320)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=_base_.small_swin.trained,
    decode_head=dict(in_channels=[24, 48, 96, 192], channels=64, num_classes=11),
    auxiliary_head=dict(in_channels=96, channels=64, num_classes=11))
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=50, end=300, by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200))
auto_scale_lr = dict(base_batch_size=4)
