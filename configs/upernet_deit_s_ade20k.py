# Dense DeiT-Small + UperNet on ADE20K: the baseline of the compressed twins.
_base_ = [
    './_base_/models/upernet_deit.py', './_base_/backbones/deit_small.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_160k.py', './_base_/seg_runtime.py'
]
model = dict(
    backbone=dict(_base_.deit_small.dense, drop_path_rate=[0.05] * 12),  # XCiT's for S: the same in every block
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384] * 4),
    auxiliary_head=dict(in_channels=384))
