# ATME: tokens merged; the encoder takes 25.59 of 46.76 GMACs at 518x518.
_base_ = './linear_dinov2_s_ade20k.py'
model = dict(backbone=_base_.dinov2_small.atme)
