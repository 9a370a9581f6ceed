# ToMe: tokens merged in every block, 13 of 196 are 27 of 400; the encoder takes ?.
_base_ = './upernet_deit_t_camvid.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=27)))
