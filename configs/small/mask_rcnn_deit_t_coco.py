# Dense DeiT-Tiny + a small Mask R-CNN on the people of a part of COCO, small enough for two CPU cores: 352x240, 128
# boxes a picture for narrow heads, batch 2, 12 epochs (312 iterations where 51 of 100 pictures hold people) at 2e-4.
_base_ = [
    '../_base_/models/mask_rcnn_deit.py', '../_base_/backbones/deit_tiny.py',
    '../_base_/datasets/coco_instance_small.py', '../_base_/schedules/adamw_1x.py', '../_base_/det_runtime.py'
]
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(_base_.deit_tiny.dense, img_size=(240, 352)),
    neck=[
        dict(type='TokenPyramid', embed_dim=192, rescales=(4, 2, 1, 0.5), norm_cfg=norm_cfg),
        dict(type='FPN', in_channels=[192] * 4, out_channels=256, num_outs=5),
    ],
    roi_head=dict(
        bbox_head=dict(fc_out_channels=256, num_classes=1),
        mask_head=dict(num_convs=2, conv_out_channels=64, num_classes=1)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[10], gamma=0.1),
]
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=2)
