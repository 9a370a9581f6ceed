# CDCP alone on DeiT-Tiny: 31.2 % of the MACs saved (the paper leaves 4.2 M parameters).
_base_ = './deit_t_600e_imagenet.py'
model = dict(cdcp=dict(target=0.312))
