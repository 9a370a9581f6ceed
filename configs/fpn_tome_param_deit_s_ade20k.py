# ToMe+Param, 14 of 196 are 73 of 1024; the encoder takes 52.88 of 67.52 GMACs at 512x512.
_base_ = './fpn_deit_s_ade20k.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=73, linear=(0, 3, 6, 9))))
