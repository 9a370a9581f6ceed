# "ATME-scratch" (paper, Tab. XIII): the merged architecture from random weights, 600 epochs, taught by dense DeiT-Tiny.
# The learning rate is DeiT's for training from scratch (5e-4 at a batch of 512), five epochs of warm-up start at 1e-6.
_base_ = './compress_atme_deit_t_imagenet.py'
teacher = dict(type='Classifier', backbone=_base_.deit_tiny.dense)
model = dict(backbone=dict(init_cfg=None), distillation=dict(teacher=teacher))
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=4e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=600, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=600)
