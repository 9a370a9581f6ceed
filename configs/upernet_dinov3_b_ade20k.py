# Dense DINOv3-Base + UperNet on ADE20K, as upernet_dinov3_s_ade20k.py.
_base_ = ['./upernet_dinov3_s_ade20k.py', './_base_/backbones/dinov3_base.py']
model = dict(
    backbone=_base_.dinov3_base.dense,
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768))
