# CAIT: tokens merged and channels pruned; the compressed checkpoint decides the widths.
_base_ = './upernet_swin_camvid.py'
model = dict(backbone=_base_.small_swin.cait)
