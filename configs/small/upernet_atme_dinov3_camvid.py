# ATME: tokens merged; the encoder takes 0.75 of 1.17 GMACs at 320x320.
_base_ = './upernet_dinov3_camvid.py'
model = dict(backbone=_base_.small_dinov3.atme)
