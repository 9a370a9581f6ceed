# Dense Swin-Tiny + CASCADE's decoder on ACDC, by CASCADE's recipe: 224x224, 150 epochs at a total batch of 12, AdamW
# 1e-4.
_base_ = [
    './_base_/models/cascade_decoder_swin.py', './_base_/backbones/swin_tiny.py', './_base_/datasets/acdc.py',
    './_base_/schedules/adamw_150e.py', './_base_/medical_runtime.py'
]
model = dict(
    backbone=_base_.swin_tiny.dense,
    decode_head=dict(num_classes=4))
auto_scale_lr = dict(base_batch_size=12)
