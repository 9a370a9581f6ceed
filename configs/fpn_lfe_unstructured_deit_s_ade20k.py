# VTC-LFC's tokens, unstructured maps; the encoder takes 52.60 of 67.52 GMACs at 512x512.
_base_ = ['./fpn_deit_s_ade20k.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.lfe_unstructured)
