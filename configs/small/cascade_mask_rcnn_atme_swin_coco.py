# ATME: tokens merged; the encoder takes 0.72 of 0.83 GMACs at 256x352.
_base_ = './cascade_mask_rcnn_swin_coco.py'
model = dict(backbone=_base_.small_swin.atme)
