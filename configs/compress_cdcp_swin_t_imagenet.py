# CDCP alone on Swin-Tiny: 26.7 % of the MACs saved (the paper leaves 24.6 M parameters).
_base_ = './compress_swin_t_imagenet.py'
model = dict(cdcp=dict(target=0.267))
