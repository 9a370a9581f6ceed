# ATME: tokens merged; the encoder takes 61.29 of 107.62 GMACs at 512x512.
_base_ = './linear_dinov3_b_ade20k.py'
model = dict(backbone=_base_.dinov3_base.atme)
