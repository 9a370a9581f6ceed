# ToMe: tokens merged in every block, 13 of 196 are 23 of 352; the encoder takes 6.55 of 7.60 GMACs at 256x352.
_base_ = './mask_rcnn_deit_t_coco.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=23)))
