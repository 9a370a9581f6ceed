# 40k iterations at a total batch of 16: AdamW 1e-3, weight decay 1e-4, 1500 iterations of warm-up, poly decay (DINOv2's
# linear evaluation of segmentation).
_base_ = './adamw_160k.py'
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=1500, end=40000, by_epoch=False),
]
train_cfg = dict(max_iters=40000, val_interval=4000)
auto_scale_lr = dict(base_batch_size=16)
