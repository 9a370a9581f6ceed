# ATME: tokens merged; the encoder takes 88.55 of 169.48 GMACs at 896x896.
_base_ = './upernet_deit_s_isaid.py'
model = dict(backbone=_base_.deit_small.atme)
