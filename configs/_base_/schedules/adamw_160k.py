# 160k iterations at a total batch of 32: AdamW 6e-5, weight decay 0.01 (paper, section IV-B1). Warm-up, poly decay and
# the parameters without weight decay are those of Swin and XCiT (batches of 16). Parameters named norm belong to the
# backbone: batch norms of heads are called bn and decay, as there. Positions and CLS do not decay, as in DeiT.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict(
            norm=dict(decay_mult=0.),
            pos_embed=dict(decay_mult=0.),
            cls_token=dict(decay_mult=0.),
            relative_position_bias_table=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=1500, end=160000, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# The batch of this learning rate; tools/train.py warns if the total batch of a run is another one.
auto_scale_lr = dict(enable=False, base_batch_size=32)
