# "ToMe+Param" (Tab. XV): a linear layer behind every third merging, 14 tokens merged; 42.7 % of the MACs saved.
_base_ = ['./deit_s_600e_imagenet.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.tome_param)
