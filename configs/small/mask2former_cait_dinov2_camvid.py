# CAIT: tokens merged and channels pruned; the encoder takes TODO.
_base_ = './mask2former_dinov2_camvid.py'
model = dict(backbone=_base_.small_dinov2.cait)
