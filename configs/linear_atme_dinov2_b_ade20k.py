# ATME: tokens merged; the encoder takes TODO.
_base_ = './linear_dinov2_b_ade20k.py'
model = dict(backbone=_base_.dinov2_base.atme)
