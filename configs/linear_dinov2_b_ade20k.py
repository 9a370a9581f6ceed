# Dense DINOv2-Base, frozen, + a linear head on ADE20K, as linear_dinov2_s_ade20k.py.
_base_ = ['./linear_dinov2_s_ade20k.py', './_base_/backbones/dinov2_base.py']
model = dict(backbone=_base_.dinov2_base.dense, decode_head=dict(in_channels=768))
