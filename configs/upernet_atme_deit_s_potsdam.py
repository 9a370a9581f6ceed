# ATME: tokens merged; the encoder takes 20.52 of 35.42 GMACs at 512x512.
_base_ = './upernet_deit_s_potsdam.py'
model = dict(backbone=_base_.deit_small.atme)
