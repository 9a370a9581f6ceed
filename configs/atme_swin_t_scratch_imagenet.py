# ATME Swin-Tiny trained from scratch for 300 epochs, as the paper compares it with STViT-R (Tab. XVII): Swin's own
# recipe, a total batch of 1024 at 1e-3, 20 epochs of warm-up, gradients clipped at 5, no teacher, no averaged weights.
_base_ = './compress_atme_swin_t_imagenet.py'
model = dict(backbone=dict(init_cfg=None), distillation=None)
train_dataloader = dict(sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True), batch_size=1024)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
custom_hooks = _base_.custom_hooks[:-1]  # without averaged weights
auto_scale_lr = dict(base_batch_size=1024)
