# ToMe: tokens merged in every block, 13 of 196 are 68 of 1024; the encoder takes 53.42 of 67.52 GMACs at 512x512.
_base_ = './fpn_deit_s_ade20k.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=68)))
