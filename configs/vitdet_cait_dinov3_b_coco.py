# CAIT: tokens merged and channels pruned; the encoder takes TODO.
_base_ = './vitdet_dinov3_b_coco.py'
model = dict(backbone=_base_.dinov3_base.cait)
