# ATME: tokens merged; the encoder takes 197.40 of 329.60 GMACs at 800x1344.
_base_ = './mask_rcnn_deit_s_coco.py'
model = dict(backbone=_base_.deit_small.atme)
