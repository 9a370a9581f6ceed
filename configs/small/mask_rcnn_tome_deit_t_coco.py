# ToMe: tokens merged in every block, 13 of 196 are 23 of 352; the encoder takes ?.
_base_ = './mask_rcnn_deit_t_coco.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=23)))
