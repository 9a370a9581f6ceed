# Dense DeiT-Tiny fine-tuned on an ImageFolder of your own, data/images/{train,val}/CLASS/*.jpg: the start and the
# teacher of compress_cait_deit_t_imagefolder.py. Inherit it and set num_classes (three places) and data_root.
_base_ = '../deit_t_600e_imagenet.py'
num_classes = 20
data_root = 'data/images'
model = dict(
    num_classes=num_classes,
    new_head=True,
    distillation=dict(alpha=0),  # ImageNet's model does not know these classes
    data_preprocessor=dict(mixup=dict(num_classes=num_classes)))
train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=64, num_workers=4, dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, ))
test_evaluator = val_evaluator
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=3, end=30, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=30)
custom_hooks = _base_.custom_hooks[:-1]  # without averaged weights
auto_scale_lr = dict(base_batch_size=64)
