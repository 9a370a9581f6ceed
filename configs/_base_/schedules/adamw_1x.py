# 12 epochs at a total batch of 16: AdamW 2e-4 (paper, section IV-B2) and, from MMDetection's Swin
# (mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py), weight decay 0.05 and its exceptions, the warm-up, steps at 8 and 11.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys=dict(
            norm=dict(decay_mult=0.),
            pos_embed=dict(decay_mult=0.),
            cls_token=dict(decay_mult=0.),
            relative_position_bias_table=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
