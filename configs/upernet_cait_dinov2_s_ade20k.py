# CAIT: tokens merged and channels pruned; the encoder takes 25.89 of 51.61 GMACs at 518x518.
_base_ = './upernet_dinov2_s_ade20k.py'
model = dict(backbone=_base_.dinov2_small.cait)
