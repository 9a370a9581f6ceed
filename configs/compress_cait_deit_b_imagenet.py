# CAIT on DeiT-Base: merges save 42.8 % of the MACs, pruned channels the rest of 57.9 %: the paper's 7.4 GMACs.
_base_ = './deit_b_600e_imagenet.py'
model = dict(backbone=_base_.deit_base.atme, cdcp=dict(target=0.579))
