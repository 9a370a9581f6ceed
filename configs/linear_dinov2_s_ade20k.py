# Dense DINOv2-Small, frozen, + a linear head on ADE20K: the baseline of the compressed twins. Sizes as in
# upernet_dinov2_s_ade20k.py. The merges of the ATME twin are frozen as well: its head learns on means of tokens.
_base_ = [
    './_base_/models/linear_vit.py', './_base_/backbones/dinov2_small.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/linear_40k.py', './_base_/seg_runtime.py'
]
model = dict(
    data_preprocessor=dict(size=(518, 518), test_cfg=dict(size_divisor=14)),
    backbone=_base_.dinov2_small.dense,
    test_cfg=dict(crop_size=(518, 518)))
train_dataloader = dict(batch_size=16)
