# ATME: tokens merged; the encoder takes 0.91 of 1.43 GMACs at 224x224.
_base_ = './cascade_decoder_deit_t_acdc.py'
model = dict(backbone=_base_.deit_tiny.atme)
