# Dense DINOv3-Base + Mask R-CNN in ViTDet's form on COCO, as vitdet_vit_b_coco.py.
_base_ = ['./vitdet_vit_b_coco.py', './_base_/backbones/dinov3_base.py']
model = dict(backbone=_base_.dinov3_base.dense)
