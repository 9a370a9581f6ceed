# CAIT: tokens merged and channels pruned; the encoder takes 16.46 of 25.61 GMACs at 512x512.
_base_ = './upernet_swin_t_ade20k.py'
model = dict(backbone=_base_.swin_tiny.cait)
