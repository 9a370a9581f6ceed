# CDCP alone on Swin-Small, to the share that the paper takes from Swin-Tiny; the paper has no such model.
_base_ = './swin_s_600e_imagenet.py'
model = dict(cdcp=dict(target=0.267))
