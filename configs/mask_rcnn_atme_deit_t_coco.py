# ATME DeiT-Tiny + Mask R-CNN on COCO: merges before blocks 4 and 8, as means of the dense weights at the start.
_base_ = './mask_rcnn_deit_t_coco.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
