# Quick start: a small dense ViT (128 wide, 8 blocks) + UperNet on the embedded scenes, from scratch.
# 192x192 is a grid of 12x12 tokens; 1000 iterations of 4 images take about two minutes on two CPU cores.
_base_ = [
    '../_base_/models/upernet_deit.py', '../_base_/backbones/small_vit.py', '../_base_/datasets/scenes_seg.py',
    '../_base_/schedules/adamw_160k.py', '../_base_/seg_runtime.py'
]
img_size = (192, 192)
model = dict(
    data_preprocessor=dict(size=img_size),
    backbone=dict(_base_.small_vit.dense, img_size=img_size, out_indices=(1, 3, 5, 7)),
    neck=dict(embed_dim=128),
    decode_head=dict(in_channels=[128] * 4, channels=32, num_classes=10),
    auxiliary_head=dict(in_channels=128, channels=32, num_classes=10))
# So short a run learns faster when Adam's second moment forgets sooner.
optim_wrapper = dict(optimizer=dict(lr=1e-3, betas=(0.9, 0.95)))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=60, end=1000, by_epoch=False),
]
train_cfg = dict(max_iters=1000, val_interval=1000)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=200, save_best=None))
auto_scale_lr = dict(base_batch_size=4)
