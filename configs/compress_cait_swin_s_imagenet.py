# CAIT on Swin-Small: merges save 33.7 % of the MACs, pruned channels the rest of 48.8 %: 15.1 points, as many as the
# paper prunes from Swin-Tiny. The paper has no such model.
_base_ = './swin_s_600e_imagenet.py'
model = dict(backbone=_base_.swin_small.atme, cdcp=dict(target=0.488))
