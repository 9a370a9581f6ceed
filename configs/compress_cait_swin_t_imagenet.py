# CAIT on Swin-Tiny: merges save 20.3 % of the MACs, pruned channels the rest of 35.4 % (the paper leaves 25.5 M
# parameters).
_base_ = './compress_atme_swin_t_imagenet.py'
model = dict(cdcp=dict(target=0.354))
