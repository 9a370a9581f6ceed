# ATME: tokens merged; the encoder takes 75.79 of 122.11 GMACs at 512x512.
_base_ = './mask2former_dinov3_b_ade20k.py'
model = dict(backbone=_base_.dinov3_base.atme)
