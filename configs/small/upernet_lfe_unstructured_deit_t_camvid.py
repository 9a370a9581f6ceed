# VTC-LFC's tokens, unstructured maps; the encoder takes 1.95 of 3.29 GMACs at 320x320.
_base_ = ['./upernet_deit_t_camvid.py', '../_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.lfe_unstructured)
