# ATME: tokens merged; the encoder takes 17.63 of 31.96 GMACs at 512x512.
_base_ = './linear_dinov3_s_ade20k.py'
model = dict(backbone=_base_.dinov3_small.atme)
