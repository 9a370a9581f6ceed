# CAIT: tokens merged and channels pruned; the encoder takes 64.24 of 122.11 GMACs at 512x512.
_base_ = './mask2former_dinov3_b_ade20k.py'
model = dict(backbone=_base_.dinov3_base.cait)
