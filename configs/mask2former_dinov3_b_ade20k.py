# Dense DINOv3-Base + Mask2Former on ADE20K, as mask2former_dinov3_s_ade20k.py.
_base_ = ['./mask2former_dinov3_s_ade20k.py', './_base_/backbones/dinov3_base.py']
model = dict(
    backbone=_base_.dinov3_base.dense,
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4))
