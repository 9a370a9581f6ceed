# Dense DeiT-Base + UperNet on ADE20K: the baseline of the compressed twins. XCiT has no model of this shape:
# stochastic depth is DeiT's.
_base_ = [
    './_base_/models/upernet_deit.py', './_base_/backbones/deit_base.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_160k.py', './_base_/seg_runtime.py'
]
model = dict(
    backbone=_base_.deit_base.dense,
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768))
