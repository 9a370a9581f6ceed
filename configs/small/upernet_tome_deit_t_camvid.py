# ToMe: tokens merged in every block, 13 of 196 are 27 of 400; the encoder takes 2.01 of 3.29 GMACs at 320x320.
_base_ = './upernet_deit_t_camvid.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=27)))
