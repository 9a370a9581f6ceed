# VTC-LFC's tokens, structured maps; the encoder takes 20.50 of 35.42 GMACs at 512x512.
_base_ = ['./upernet_deit_s_ade20k.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.lfe_structured)
