# "ToMe*" (Tab. XV): half of the tokens before the FFNs of ATME's blocks, 4 and 7, which saves 41.6 % of the MACs.
_base_ = ['./deit_s_600e_imagenet.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.tome_half)
