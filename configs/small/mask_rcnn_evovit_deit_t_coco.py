# Evo-ViT: half of the tokens wait; the encoder takes 6.69 of 7.60 GMACs at 256x352.
_base_ = ['./mask_rcnn_deit_t_coco.py', '../_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.evovit)
