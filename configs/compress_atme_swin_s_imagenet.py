# ATME alone on Swin-Small: 33.7 % of the MACs saved, 50.2 M parameters (the paper's 33.7 %, 50.2 M).
_base_ = './compress_swin_s_imagenet.py'
model = dict(backbone=dict(merge=(('2.7', 'horizontal'), ('2.12', 'vertical'))))
