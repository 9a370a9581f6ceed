# The small Swin of compress_swin_imagefolder.py + a small Cascade Mask R-CNN on the people of a part of COCO, for two
# CPU cores: data and schedule of mask_rcnn_deit_t_coco.py, 64 boxes a picture, box heads of one narrow convolution.
_base_ = [
    './_base_/models/cascade_mask_rcnn_swin.py', './_base_/models/small_swin.py',
    './_base_/datasets/coco_instance_small.py', './_base_/schedules/adamw_1x.py', './_base_/det_runtime.py'
]
num_classes = 1
model = dict(
    backbone=dict(
        _base_.small_swin,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin_imagefolder.pth')),
    neck=dict(in_channels=[24, 48, 96, 192]),
    roi_head=dict(
        bbox_head=[
            dict(head, num_shared_convs=1, conv_out_channels=64, fc_out_channels=256, num_classes=num_classes)
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(num_convs=2, conv_out_channels=64, num_classes=num_classes),
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=2)),  # a box's cost no longer grows with its size
        mask_roi_extractor=dict(roi_layer=dict(sampling_ratio=2))),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=64)),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[10], gamma=0.1),
]
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=2)
