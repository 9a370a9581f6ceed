# Dense Swin-Small + UperNet on ADE20K.
_base_ = ['./upernet_swin_t_ade20k.py', './_base_/backbones/swin_small.py']
model = dict(backbone=_base_.swin_small.dense)
