# ATME: tokens merged; the encoder takes 3.60 of 4.51 GMACs at 224x224.
_base_ = './cascade_decoder_swin_t_synapse.py'
model = dict(backbone=_base_.swin_tiny.atme)
