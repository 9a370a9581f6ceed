# DiffRate (Tab. XV) with its published counts for 2.7 G; 41.0 % of the MACs saved.
_base_ = ['./deit_s_600e_imagenet.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.diffrate)
