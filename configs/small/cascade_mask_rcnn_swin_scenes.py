# The small Swin of swin_imagefolder.py + a small Cascade Mask R-CNN on the embedded scenes, for two CPU cores:
# data of mask_rcnn_deit_scenes.py, 5 epochs of 120 iterations of 4 pictures at 5e-4.
_base_ = [
    '../_base_/models/small_cascade_mask_rcnn_swin.py', '../_base_/datasets/scenes_det.py',
    '../_base_/schedules/adamw_1x.py', '../_base_/det_runtime.py'
]
num_classes = 5
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_head=[dict(head, num_classes=num_classes) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=num_classes)),
    test_cfg=dict(rcnn=dict(max_per_img=50)))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=60),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=5, milestones=[4], gamma=0.1),
]
train_cfg = dict(max_epochs=5, val_interval=5)
auto_scale_lr = dict(base_batch_size=4)
