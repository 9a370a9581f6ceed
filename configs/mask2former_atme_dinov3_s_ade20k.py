# ATME: tokens merged; the encoder takes 21.26 of 35.58 GMACs at 512x512.
_base_ = './mask2former_dinov3_s_ade20k.py'
model = dict(backbone=_base_.dinov3_small.atme)
