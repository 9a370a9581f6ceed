# A small dense ViT (128 wide, 8 blocks) + a narrow Mask R-CNN on the embedded scenes: for two CPU cores, with data that
# can be shown. Batch 4, 8 epochs of 120 iterations at 1e-3.
_base_ = [
    '../_base_/models/mask_rcnn_deit.py', '../_base_/backbones/small_vit.py', '../_base_/datasets/scenes_det.py',
    '../_base_/schedules/adamw_1x.py', '../_base_/det_runtime.py'
]
img_size, num_classes, channels = (192, 192), 5, 64
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(_base_.small_vit.trained, img_size=img_size, out_indices=(1, 3, 5, 7)),
    neck=[
        dict(type='TokenPyramid', embed_dim=128, rescales=(4, 2, 1, 0.5), norm_cfg=norm_cfg),
        dict(type='FPN', in_channels=[128] * 4, out_channels=channels, num_outs=5),
    ],
    rpn_head=dict(in_channels=channels, feat_channels=channels, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(in_channels=channels, fc_out_channels=256, num_classes=num_classes),
        mask_roi_extractor=dict(out_channels=channels),
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels, num_classes=num_classes)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200), rcnn=dict(max_per_img=50)))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=60),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[6], gamma=0.1),
]
train_cfg = dict(max_epochs=8, val_interval=8)
auto_scale_lr = dict(base_batch_size=4)
