# CAIT: tokens merged and channels pruned; the encoder takes 7.97 of 12.84 GMACs at 352x352.
_base_ = './cascade_decoder_swin_t_polyp.py'
model = dict(backbone=_base_.swin_tiny.cait)
