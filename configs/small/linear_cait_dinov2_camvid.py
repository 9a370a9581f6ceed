# CAIT: tokens merged and channels pruned; the encoder takes 0.68 of 1.47 GMACs at 322x322.
_base_ = './linear_dinov2_camvid.py'
model = dict(backbone=_base_.small_dinov2.cait)
