# Dense DeiT-Small + Mask R-CNN on COCO, 12 epochs at 1333x800: what the compressed twins are compared with.
_base_ = [
    './_base_/models/mask_rcnn_deit.py', './_base_/datasets/coco_instance.py', './_base_/schedules/adamw_1x.py',
    './_base_/det_runtime.py'
]
model = dict(
    backbone=dict(
        arch='deit_small',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_small_patch16_224-cd65a155.pth')))
