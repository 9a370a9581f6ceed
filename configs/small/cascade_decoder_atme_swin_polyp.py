# ATME: tokens merged; the encoder takes 0.24 of 0.31 GMACs at 224x224.
_base_ = './cascade_decoder_swin_polyp.py'
model = dict(backbone=_base_.small_swin.atme)
