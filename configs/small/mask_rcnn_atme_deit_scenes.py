# ATME: tokens merged; the encoder takes 0.35 of 0.48 GMACs at 192x192.
_base_ = './mask_rcnn_deit_scenes.py'
model = dict(backbone=_base_.small_vit.atme)
