# ATME: tokens merged; the encoder takes 1.21 of 1.94 GMACs at 256x256.
_base_ = './upernet_deit_t_potsdam.py'
model = dict(backbone=_base_.deit_tiny.atme)
