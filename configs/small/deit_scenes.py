# Quick start: the small dense ViT of upernet_deit_scenes.py learns to name the kind of scene, from scratch. It is the
# pretrained model that the quick start compresses and fine-tunes.
_base_ = [
    '../_base_/models/deit_classifier.py', '../_base_/backbones/small_vit.py', '../_base_/datasets/scenes_cls.py',
    '../_base_/schedules/adamw_300e.py', '../_base_/cls_runtime.py'
]
num_classes = 8
model = dict(
    backbone=_base_.small_vit.dense,
    num_classes=num_classes,
    distillation=dict(alpha=0),
    data_preprocessor=dict(mixup=None))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=2, end=12, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=12, val_interval=4)
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=2, save_best=None))
custom_hooks = _base_.custom_hooks[:-1]  # without averaged weights
auto_scale_lr = dict(base_batch_size=32)
