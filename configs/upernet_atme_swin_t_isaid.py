# ATME: tokens merged; the encoder takes 56.65 of 72.18 GMACs at 896x896.
_base_ = './upernet_swin_t_isaid.py'
model = dict(backbone=_base_.swin_tiny.atme)
