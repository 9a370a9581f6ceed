# Dense DeiT-Tiny + a small Mask2Former on CamVid, small enough for two CPU cores: 2 encoder and 3 decoder layers, 40
# queries, 256x256 crops, batch 4, 200 iterations at 3e-4.
_base_ = [
    '../_base_/models/mask2former_deit.py', '../_base_/backbones/deit_tiny.py', '../_base_/datasets/camvid.py',
    '../_base_/schedules/adamw_160k.py', '../_base_/seg_runtime.py'
]
crop_size = (256, 256)
num_classes = 11
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(_base_.deit_tiny.dense, img_size=crop_size),
    neck=dict(embed_dim=192),
    decode_head=dict(
        in_channels=[192] * 4,
        num_classes=num_classes,
        num_queries=40,
        pixel_decoder=dict(encoder=dict(num_layers=2)),
        transformer_decoder=dict(num_layers=3),
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
        train_cfg=dict(num_points=2048)))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.5, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=3e-4), clip_grad=dict(max_norm=0.01, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=30, end=200, by_epoch=False),
]
train_cfg = dict(max_iters=200, val_interval=200)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
auto_scale_lr = dict(base_batch_size=4)
