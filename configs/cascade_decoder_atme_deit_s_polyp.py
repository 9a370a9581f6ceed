# ATME: tokens merged; the encoder takes 8.69 of 14.35 GMACs at 352x352.
_base_ = './cascade_decoder_deit_s_polyp.py'
model = dict(backbone=_base_.deit_small.atme)
