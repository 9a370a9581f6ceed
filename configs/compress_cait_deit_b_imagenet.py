# CAIT on DeiT-Base: merges save 42.8 % of the MACs, pruned channels the rest of 57.9 %: the paper's 7.4 GMACs.
_base_ = './compress_deit_b_imagenet.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (7, 'vertical'))), cdcp=dict(target=0.579))
