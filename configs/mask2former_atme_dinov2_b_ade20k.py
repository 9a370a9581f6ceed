# ATME: tokens merged; the encoder takes 105.68 of 171.09 GMACs at 518x518.
_base_ = './mask2former_dinov2_b_ade20k.py'
model = dict(backbone=_base_.dinov2_base.atme)
