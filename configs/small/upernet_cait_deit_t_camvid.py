# CAIT: tokens merged and channels pruned; the encoder takes 1.74 of 3.29 GMACs at 320x320.
_base_ = './upernet_deit_t_camvid.py'
model = dict(backbone=_base_.deit_tiny.cait)
