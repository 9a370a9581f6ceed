# CAIT: tokens merged and channels pruned; the encoder takes 0.89 of 1.68 GMACs at 322x322.
_base_ = './upernet_dinov2_camvid.py'
model = dict(backbone=_base_.small_dinov2.cait)
