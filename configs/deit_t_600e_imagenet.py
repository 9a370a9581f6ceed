# Dense DeiT-Tiny, trained on for 300 epochs with hard distillation from itself: the paper's "Original-600e".
_base_ = [
    './_base_/models/deit_classifier.py', './_base_/backbones/deit_tiny.py', './_base_/datasets/imagenet.py',
    './_base_/schedules/adamw_300e.py', './_base_/cls_runtime.py'
]
model = dict(
    backbone=_base_.deit_tiny.dense,
    distillation=dict(alpha=0.1))
