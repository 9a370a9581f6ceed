# ATME: tokens merged; the encoder takes TODO.
_base_ = './vitdet_vit_b_coco.py'
model = dict(backbone=_base_.vit_base.atme)
