# DiffRate: tokens dropped and merged in every block; the encoder takes 53.73 of 67.52 GMACs at 512x512.
_base_ = ['./fpn_deit_s_ade20k.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.diffrate)
