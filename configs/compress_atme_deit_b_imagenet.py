# ATME alone on DeiT-Base: 42.8 % of the MACs saved. The paper has no such row; these are the merges of its CAIT.
_base_ = './deit_b_600e_imagenet.py'
model = dict(backbone=_base_.deit_base.atme)
