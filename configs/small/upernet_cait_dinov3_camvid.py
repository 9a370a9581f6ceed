# CAIT: tokens merged and channels pruned; the encoder takes TODO.
_base_ = './upernet_dinov3_camvid.py'
model = dict(backbone=_base_.small_dinov3.cait)
