# Evo-ViT: half of the tokens wait; the encoder takes 2.21 of 3.29 GMACs at 320x320.
_base_ = ['./upernet_deit_t_camvid.py', '../_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.evovit)
