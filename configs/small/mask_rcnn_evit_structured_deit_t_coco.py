# EViT, structured maps; the encoder takes 6.47 of 7.60 GMACs at 256x352.
_base_ = ['./mask_rcnn_deit_t_coco.py', '../_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.evit_structured)
