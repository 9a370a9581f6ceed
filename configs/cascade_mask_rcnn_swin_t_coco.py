# Dense Swin-Tiny + Cascade Mask R-CNN on COCO, the setting of STViT-R (paper, Tab. XVIII) and of Swin's authors: 36
# epochs, several scales, AdamW 1e-4 after 500 iterations of warm-up. They train in mixed precision: --amp.
_base_ = [
    './_base_/models/cascade_mask_rcnn_swin.py', './_base_/backbones/swin_tiny.py',
    './_base_/datasets/coco_instance_multiscale.py', './_base_/schedules/adamw_1x.py', './_base_/det_runtime.py'
]
model = dict(backbone=_base_.swin_tiny.dense)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
train_cfg = dict(max_epochs=36)
