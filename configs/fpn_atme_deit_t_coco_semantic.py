# ATME DeiT-Tiny + Semantic FPN on COCO: merges before blocks 4 and 8, as means of the dense weights at the start.
_base_ = './fpn_deit_t_coco_semantic.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
