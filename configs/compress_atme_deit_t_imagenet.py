# ATME alone on DeiT-Tiny: 50.2 % of the MACs saved, 5.94 M parameters (the paper's 50.2 %, 5.9 M).
_base_ = './deit_t_600e_imagenet.py'
model = dict(backbone=dict(merge=((3, 'horizontal'), (7, 'vertical'), (9, 'horizontal'))))
