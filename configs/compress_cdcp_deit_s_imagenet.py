# CDCP alone on DeiT-Small: 38.1 % of the MACs saved (the paper leaves 13.9 M parameters).
_base_ = './deit_s_600e_imagenet.py'
model = dict(cdcp=dict(target=0.381))
