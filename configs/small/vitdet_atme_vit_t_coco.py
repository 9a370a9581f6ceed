# ATME: tokens merged; the encoder takes 2.68 of 3.76 GMACs at 256x352.
_base_ = './vitdet_vit_t_coco.py'
model = dict(backbone=_base_.vit_tiny.atme)
