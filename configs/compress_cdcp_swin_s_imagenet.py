# CDCP alone on Swin-Small, to the share that the paper takes from Swin-Tiny; the paper has no such model.
_base_ = './compress_swin_s_imagenet.py'
model = dict(cdcp=dict(target=0.267))
