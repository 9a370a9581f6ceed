# ATME: tokens merged; the encoder takes TODO.
_base_ = './vitdet_vit_t_coco.py'
model = dict(backbone=_base_.vit_tiny.atme)
