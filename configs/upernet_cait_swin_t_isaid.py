# CAIT: tokens merged and channels pruned; the encoder takes 45.80 of 72.18 GMACs at 896x896.
_base_ = './upernet_swin_t_isaid.py'
model = dict(backbone=_base_.swin_tiny.cait)
