# ATME: tokens merged; the encoder takes TODO.
_base_ = './linear_dinov2_camvid.py'
model = dict(backbone=_base_.small_dinov2.atme)
