# CAIT: tokens merged and channels pruned; the encoder takes TODO.
_base_ = './mask2former_dinov3_s_ade20k.py'
model = dict(backbone=_base_.dinov3_small.cait)
