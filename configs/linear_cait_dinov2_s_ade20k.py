# CAIT: tokens merged and channels pruned; the encoder takes 21.04 of 46.76 GMACs at 518x518.
_base_ = './linear_dinov2_s_ade20k.py'
model = dict(backbone=_base_.dinov2_small.cait)
