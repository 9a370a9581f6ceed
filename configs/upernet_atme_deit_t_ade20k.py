# ATME DeiT-Tiny + UperNet on ADE20K. Merges before blocks 4 and 8 (0-based; the paper's 5th and 9th):
# 5.5 of 10.5 GMACs at 512x512: 1.90x.
# It starts from the dense weights with merges as means; after ImageNet compression, point init_cfg at the export.
_base_ = './upernet_deit_t_ade20k.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
