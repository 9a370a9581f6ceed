# CAIT: tokens merged and channels pruned; the encoder takes 170.05 of 329.60 GMACs at 800x1344.
_base_ = './mask_rcnn_deit_s_coco.py'
model = dict(backbone=_base_.deit_small.cait)
