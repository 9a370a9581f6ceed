# ATME: tokens merged; the encoder takes 9.93 of 12.84 GMACs at 352x352.
_base_ = './cascade_decoder_swin_t_polyp.py'
model = dict(backbone=_base_.swin_tiny.atme)
