# Dense DeiT-Tiny, trained on for 300 epochs with hard distillation from itself: the paper's "Original-600e".
_base_ = [
    './_base_/models/deit_classifier.py', './_base_/datasets/imagenet.py', './_base_/schedules/adamw_300e.py',
    './_base_/cls_runtime.py'
]
model = dict(
    backbone=dict(
        arch='deit_tiny',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_tiny_patch16_224-a1311bcf.pth')),
    distillation=dict(alpha=0.1))
