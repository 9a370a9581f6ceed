# CAIT: tokens merged and channels pruned; the encoder takes 0.80 of 1.43 GMACs at 224x224.
_base_ = './cascade_decoder_deit_t_synapse.py'
model = dict(backbone=_base_.deit_tiny.cait)
