# CAIT: tokens merged and channels pruned; the encoder takes 69.76 of 151.71 GMACs at 518x518.
_base_ = './linear_dinov2_b_ade20k.py'
model = dict(backbone=_base_.dinov2_base.cait)
