# Dense DINOv2-Small + UperNet on ADE20K, fine-tuned: the baseline of the compressed twins. Crops of 512x512 are padded
# to 518x518 and pictures to multiples of 14, so that maps cover them exactly. `--cfg-options
# model.backbone.frozen_stages=12` freezes the backbone.
_base_ = [
    './_base_/models/upernet_deit.py', './_base_/backbones/dinov2_small.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/layer_decay_160k.py', './_base_/seg_runtime.py'
]
model = dict(
    data_preprocessor=dict(size=(518, 518), test_cfg=dict(size_divisor=14)),
    backbone=_base_.dinov2_small.dense,
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384] * 4),
    auxiliary_head=dict(in_channels=384))
train_dataloader = dict(batch_size=16)
