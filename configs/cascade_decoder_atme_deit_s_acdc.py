# ATME: tokens merged; the encoder takes 3.31 of 5.30 GMACs at 224x224.
_base_ = './cascade_decoder_deit_s_acdc.py'
model = dict(backbone=_base_.deit_small.atme)
