# Dense DeiT-Small + Mask R-CNN on COCO, 12 epochs at 1333x800: the baseline of the compressed twins. The paper
# follows PVT (its [87]), whose mask_rcnn_pvt_s_fpn_1x_coco.py has weight decay 1e-4 (on everything; here not on norms
# and positions), 500 iterations of warm-up, and stochastic depth that grows to 0.1.
_base_ = [
    './_base_/models/mask_rcnn_deit.py', './_base_/backbones/deit_small.py', './_base_/datasets/coco_instance.py',
    './_base_/schedules/adamw_1x.py', './_base_/det_runtime.py'
]
model = dict(backbone=_base_.deit_small.dense)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
