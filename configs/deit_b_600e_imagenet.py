# Dense DeiT-Base, trained on for 300 epochs with hard distillation from itself: the paper's "Original-600e".
_base_ = [
    './_base_/models/deit_classifier.py', './_base_/backbones/deit_base.py', './_base_/datasets/imagenet.py',
    './_base_/schedules/adamw_300e.py', './_base_/cls_runtime.py'
]
# The paper's batch for Base.
train_dataloader = dict(batch_size=128)
auto_scale_lr = dict(base_batch_size=128)
model = dict(
    backbone=_base_.deit_base.dense,
    distillation=dict(alpha=0.25))
