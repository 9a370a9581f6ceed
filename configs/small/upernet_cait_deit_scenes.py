# CAIT: tokens merged and channels pruned; the encoder takes 0.19 of 0.34 GMACs at 192x192.
_base_ = './upernet_deit_scenes.py'
model = dict(backbone=_base_.small_vit.cait)
