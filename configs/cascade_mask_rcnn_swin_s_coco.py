# Dense Swin-Small + Cascade Mask R-CNN on COCO.
_base_ = ['./cascade_mask_rcnn_swin_t_coco.py', './_base_/backbones/swin_small.py']
model = dict(backbone=_base_.swin_small.dense)
