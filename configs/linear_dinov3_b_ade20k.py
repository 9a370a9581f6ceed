# Dense DINOv3-Base, frozen, + a linear head on ADE20K, as linear_dinov3_s_ade20k.py.
_base_ = ['./linear_dinov3_s_ade20k.py', './_base_/backbones/dinov3_base.py']
model = dict(backbone=_base_.dinov3_base.dense, decode_head=dict(in_channels=768))
