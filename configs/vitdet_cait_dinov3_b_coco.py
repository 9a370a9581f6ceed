# CAIT: tokens merged and channels pruned; the encoder takes 345.92 of 733.03 GMACs at 1024x1024.
_base_ = './vitdet_dinov3_b_coco.py'
model = dict(backbone=_base_.dinov3_base.cait)
