# The small Swin of swin_imagefolder.py + a small Cascade Mask R-CNN on the people of a part of COCO, for two CPU cores:
# data and schedule of mask_rcnn_deit_t_coco.py, at 5e-4.
_base_ = [
    '../_base_/models/small_cascade_mask_rcnn_swin.py', '../_base_/datasets/coco_instance_small.py',
    '../_base_/schedules/adamw_1x.py', '../_base_/det_runtime.py'
]
num_classes = 1
model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=num_classes) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=num_classes)))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[10], gamma=0.1),
]
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=2)
