# CAIT: tokens merged and channels pruned; the encoder takes 18.23 of 35.58 GMACs at 512x512.
_base_ = './mask2former_dinov3_s_ade20k.py'
model = dict(backbone=_base_.dinov3_small.cait)
