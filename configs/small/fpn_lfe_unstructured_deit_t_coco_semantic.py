# VTC-LFC's tokens, unstructured maps; the encoder takes 1.09 of 1.64 GMACs at 224x224.
_base_ = ['./fpn_deit_t_coco_semantic.py', '../_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.lfe_unstructured)
