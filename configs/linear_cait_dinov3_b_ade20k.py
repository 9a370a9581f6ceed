# CAIT: tokens merged and channels pruned; the encoder takes 49.74 of 107.62 GMACs at 512x512.
_base_ = './linear_dinov3_b_ade20k.py'
model = dict(backbone=_base_.dinov3_base.cait)
