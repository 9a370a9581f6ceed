# ATME: tokens merged; the encoder takes 183.28 of 250.38 GMACs at 800x1344.
_base_ = './cascade_mask_rcnn_swin_s_coco.py'
model = dict(backbone=_base_.swin_small.atme)
