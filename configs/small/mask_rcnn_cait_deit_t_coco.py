# CAIT: tokens merged and channels pruned; the encoder takes 6.29 of 7.60 GMACs at 256x352.
_base_ = './mask_rcnn_deit_t_coco.py'
model = dict(backbone=_base_.deit_tiny.cait)
