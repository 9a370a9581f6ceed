# CAIT: tokens merged and channels pruned; the encoder takes 7.29 of 14.35 GMACs at 352x352.
_base_ = './cascade_decoder_deit_s_polyp.py'
model = dict(backbone=_base_.deit_small.cait)
