# ATME: tokens merged; the encoder takes 0.67 of 1.02 GMACs at 266x266.
_base_ = './mask2former_dinov2_camvid.py'
model = dict(backbone=_base_.small_dinov2.atme)
