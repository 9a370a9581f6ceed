# ATME on DeiT-Small with the merges of its CAIT: 43.1 % of the MACs saved, 22.64 M parameters (the paper's 43.3 %,
# 22.6 M, Tab. XV).
_base_ = './deit_s_600e_imagenet.py'
model = dict(backbone=_base_.deit_small.atme)
