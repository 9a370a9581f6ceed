# ATME alone on Swin-Small: 33.7 % of the MACs saved, 50.2 M parameters (the paper's 33.7 %, 50.2 M).
_base_ = './swin_s_600e_imagenet.py'
model = dict(backbone=_base_.swin_small.atme)
