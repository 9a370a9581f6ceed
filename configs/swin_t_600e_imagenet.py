# Dense Swin-Tiny, trained on for 300 epochs with hard distillation from itself: what its compressed models start from
# and are compared with. The recipe is DeiT's, as in the paper; stochastic depth is Swin's own.
_base_ = [
    './_base_/models/deit_classifier.py', './_base_/backbones/swin_tiny.py', './_base_/datasets/imagenet.py',
    './_base_/schedules/adamw_300e.py', './_base_/cls_runtime.py'
]
model = dict(backbone=dict(_base_.swin_tiny.dense, drop_path_rate=0.2))
