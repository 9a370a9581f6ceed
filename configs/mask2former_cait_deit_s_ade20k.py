# CAIT: tokens merged and channels pruned; the encoder takes 17.01 of 35.42 GMACs at 512x512.
_base_ = './mask2former_deit_s_ade20k.py'
model = dict(backbone=_base_.deit_small.cait)
