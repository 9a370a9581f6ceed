# CAIT on Swin-Small: merges save 33.7 % of the MACs, pruned channels the rest of 48.8 %: 15.1 points, as many as the
# paper prunes from Swin-Tiny. The paper has no such model.
_base_ = './compress_atme_swin_s_imagenet.py'
model = dict(cdcp=dict(target=0.488))
