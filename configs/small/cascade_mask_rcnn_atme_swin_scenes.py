# ATME: tokens merged; the encoder takes 0.29 of 0.34 GMACs at 192x192.
_base_ = './cascade_mask_rcnn_swin_scenes.py'
model = dict(backbone=_base_.small_swin.atme)
