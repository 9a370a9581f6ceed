# ATME: tokens merged; the encoder takes 417.28 of 733.03 GMACs at 1024x1024.
_base_ = './vitdet_dinov3_b_coco.py'
model = dict(backbone=_base_.dinov3_base.atme)
