# Dense DINOv2-Base + UperNet on ADE20K, as upernet_dinov2_s_ade20k.py.
_base_ = ['./upernet_dinov2_s_ade20k.py', './_base_/backbones/dinov2_base.py']
model = dict(
    backbone=_base_.dinov2_base.dense,
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768))
