# VTC-LFC's tokens, structured maps; the encoder takes ?.
_base_ = ['./fpn_deit_s_ade20k.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.lfe_structured)
