# CAIT: tokens merged and channels pruned; the encoder takes TODO.
_base_ = './mask2former_dinov2_s_ade20k.py'
model = dict(backbone=_base_.dinov2_small.cait)
