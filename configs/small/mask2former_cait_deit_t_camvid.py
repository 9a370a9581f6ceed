# CAIT: tokens merged and channels pruned; the encoder takes 1.06 of 1.94 GMACs at 256x256.
_base_ = './mask2former_deit_t_camvid.py'
model = dict(backbone=_base_.deit_tiny.cait)
