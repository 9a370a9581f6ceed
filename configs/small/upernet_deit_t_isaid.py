# Dense DeiT-Tiny + a narrow UperNet (64 channels) on iSAID, small enough for two CPU cores: 256x256 crops, batch 4, 200
# iterations at 3e-4.
_base_ = ['../upernet_deit_s_isaid.py', '../_base_/backbones/deit_tiny.py']
crop_size = (256, 256)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(_base_.deit_tiny.dense, img_size=crop_size),
    neck=dict(embed_dim=192),
    decode_head=dict(in_channels=[192] * 4, channels=64),
    auxiliary_head=dict(in_channels=192, channels=64))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(896, 896), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=2)
test_dataloader = dict(num_workers=2)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=30, end=200, by_epoch=False),
]
train_cfg = dict(max_iters=200, val_interval=200)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
auto_scale_lr = dict(base_batch_size=4)
