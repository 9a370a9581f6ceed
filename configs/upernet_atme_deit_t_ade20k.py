# ATME: tokens merged; the encoder takes 6.42 of 11.36 GMACs at 512x512.
_base_ = './upernet_deit_t_ade20k.py'
model = dict(backbone=_base_.deit_tiny.atme)
