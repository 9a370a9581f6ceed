# ATME: tokens merged; the encoder takes TODO.
_base_ = './upernet_dinov3_s_ade20k.py'
model = dict(backbone=_base_.dinov3_small.atme)
