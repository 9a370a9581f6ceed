# Dense DeiT-Small + Semantic FPN on ADE20K, 80k iterations: the baseline of the compressed twins.
_base_ = [
    './_base_/models/fpn_deit.py', './_base_/backbones/deit_small.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_80k.py', './_base_/seg_runtime.py'
]
model = dict(
    backbone=dict(_base_.deit_small.dense, drop_path_rate=[0.05] * 12))  # XCiT's for S: the same in every block
default_hooks = dict(checkpoint=dict(interval=8000))
