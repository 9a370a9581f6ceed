# Dense DINOv2-Base + Mask2Former on ADE20K, as mask2former_dinov2_s_ade20k.py.
_base_ = ['./mask2former_dinov2_s_ade20k.py', './_base_/backbones/dinov2_base.py']
model = dict(
    backbone=_base_.dinov2_base.dense,
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4))
