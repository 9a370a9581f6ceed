# CDCP alone on Swin-Tiny: 26.7 % of the MACs saved (the paper leaves 24.6 M parameters).
_base_ = './swin_t_600e_imagenet.py'
model = dict(cdcp=dict(target=0.267))
