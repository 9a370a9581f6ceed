# CAIT on Swin-Tiny: merges save 20.3 % of the MACs, pruned channels the rest of 35.4 % (the paper leaves 25.5 M
# parameters).
_base_ = './swin_t_600e_imagenet.py'
model = dict(backbone=_base_.swin_tiny.atme, cdcp=dict(target=0.354))
