# Evo-ViT: half of the tokens wait; the encoder takes ?.
_base_ = ['./upernet_deit_t_camvid.py', '../_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.evovit)
