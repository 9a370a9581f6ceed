# Dense DeiT-Tiny + a narrow Semantic FPN (64 channels) on COCO's semantic maps (133 classes), small enough for two CPU
# cores: 224x224 crops, batch 4, 200 iterations at 3e-4.
_base_ = [
    '../_base_/models/fpn_deit.py', '../_base_/backbones/deit_tiny.py', '../_base_/datasets/coco_semantic.py',
    '../_base_/schedules/adamw_160k.py', '../_base_/seg_runtime.py'
]
crop_size = (224, 224)
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(_base_.deit_tiny.dense, img_size=crop_size),
    neck=[
        dict(type='TokenPyramid', embed_dim=192, rescales=(4, 2, 1, 0.5), norm_cfg=norm_cfg),
        dict(type='FPN', in_channels=[192] * 4, out_channels=64, num_outs=4),
    ],
    decode_head=dict(in_channels=[64] * 4, channels=64, num_classes=133))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=30, end=200, by_epoch=False),
]
train_cfg = dict(max_iters=200, val_interval=200)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
auto_scale_lr = dict(base_batch_size=4)
