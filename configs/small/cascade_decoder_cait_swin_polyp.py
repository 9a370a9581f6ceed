# CAIT: tokens merged and channels pruned; the compressed checkpoint decides the widths.
_base_ = './cascade_decoder_swin_polyp.py'
model = dict(backbone=_base_.small_swin.cait)
