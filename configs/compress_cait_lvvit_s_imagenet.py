# CAIT on LV-ViT-S: merges save 39.1 % of the MACs, pruned channels the rest of 50 %. The paper names neither the merges
# nor the target of this model.
_base_ = './lvvit_s_600e_imagenet.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (9, 'vertical'))), cdcp=dict(target=0.5))
