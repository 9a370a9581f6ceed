# ATME alone on DeiT-Small: 54.6 % of the MACs saved, 22.94 M parameters (the paper's 54.4 %, 22.9 M).
_base_ = './deit_s_600e_imagenet.py'
model = dict(backbone=dict(merge=((3, 'horizontal'), (5, 'vertical'), (8, 'horizontal'))))
