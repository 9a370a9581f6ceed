# ATME DeiT-Base + UperNet on ADE20K. Merges before blocks 4 and 7 (0-based; the paper's 5th and 8th):
# 58.7 of 107.1 GMACs at 512x512: 1.82x.
# It starts from the dense weights with merges as means; after ImageNet compression, point init_cfg at the export.
_base_ = './upernet_deit_b_ade20k.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (7, 'vertical'))))
