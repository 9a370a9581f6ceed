# ATME: tokens merged; the encoder takes 86.30 of 151.71 GMACs at 518x518.
_base_ = './linear_dinov2_b_ade20k.py'
model = dict(backbone=_base_.dinov2_base.atme)
