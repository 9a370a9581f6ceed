# Dense DeiT-Tiny + a narrow UperNet (64 channels) on CamVid: small enough for two CPU cores, real enough to learn.
# 320x320 crops, batch 4, 1000 iterations at 3e-4.
_base_ = [
    '../_base_/models/upernet_deit.py', '../_base_/backbones/deit_tiny.py', '../_base_/datasets/camvid.py',
    '../_base_/schedules/adamw_160k.py', '../_base_/seg_runtime.py'
]
crop_size = (320, 320)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(_base_.deit_tiny.dense, img_size=crop_size),
    neck=dict(embed_dim=192),
    decode_head=dict(in_channels=[192] * 4, channels=64, num_classes=11),
    auxiliary_head=dict(in_channels=192, channels=64, num_classes=11))
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=50, end=1000, by_epoch=False),
]
train_cfg = dict(max_iters=1000, val_interval=500)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200))
auto_scale_lr = dict(base_batch_size=4)
