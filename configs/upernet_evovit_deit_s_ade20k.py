# Evo-ViT: half of the tokens wait; the encoder takes 23.32 of 35.42 GMACs at 512x512.
_base_ = ['./upernet_deit_s_ade20k.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.evovit)
