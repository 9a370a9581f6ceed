# ATME: tokens merged; the encoder takes 52.62 of 67.52 GMACs at 512x512.
_base_ = './fpn_deit_s_ade20k.py'
model = dict(backbone=_base_.deit_small.atme)
