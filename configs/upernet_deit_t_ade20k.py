# Dense DeiT-Tiny + UperNet on ADE20K: the baseline of the compressed twins.
_base_ = [
    './_base_/models/upernet_deit.py', './_base_/backbones/deit_tiny.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_160k.py', './_base_/seg_runtime.py'
]
model = dict(
    backbone=dict(
        _base_.deit_tiny.dense,
        drop_path_rate=0.,  # XCiT's for T
    ),
    neck=dict(embed_dim=192),
    decode_head=dict(in_channels=[192] * 4),
    auxiliary_head=dict(in_channels=192))
