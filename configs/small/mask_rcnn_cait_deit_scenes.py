# CAIT: tokens merged and channels pruned; the encoder takes 0.32 of 0.48 GMACs at 192x192.
_base_ = './mask_rcnn_deit_scenes.py'
model = dict(backbone=_base_.small_vit.cait)
