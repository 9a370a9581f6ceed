# CAIT: tokens merged and channels pruned; the encoder takes 2.91 of 4.51 GMACs at 224x224.
_base_ = './cascade_decoder_swin_t_acdc.py'
model = dict(backbone=_base_.swin_tiny.cait)
