# CAIT on LV-ViT-S: merges save 39.1 % of the MACs, pruned channels the rest of 50 %. Placement and target are ours: the
# paper's table names neither.
_base_ = './compress_lvvit_s_imagenet.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (9, 'vertical'))), cdcp=dict(target=0.5))
