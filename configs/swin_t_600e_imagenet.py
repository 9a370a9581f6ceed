# Dense Swin-Tiny, trained on for 300 epochs with hard distillation from itself: the start and baseline of its
# compressed models. The recipe is that of DeiT, as in the paper, with the stochastic depth of Swin.
_base_ = [
    './_base_/models/deit_classifier.py', './_base_/backbones/swin_tiny.py', './_base_/datasets/imagenet.py',
    './_base_/schedules/adamw_300e.py', './_base_/cls_runtime.py'
]
model = dict(backbone=dict(_base_.swin_tiny.dense, drop_path_rate=0.2))
