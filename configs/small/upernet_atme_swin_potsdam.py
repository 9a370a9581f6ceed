# ATME: tokens merged; the encoder takes 0.30 of 0.38 GMACs at 256x256.
_base_ = './upernet_swin_potsdam.py'
model = dict(backbone=_base_.small_swin.atme)
