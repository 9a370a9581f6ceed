# 300 epochs at a total batch of 256: AdamW 1e-4, weight decay 0.05, cosine (paper, Tab. II). `--epochs N` changes the
# length of everything together. The cosine ends at DeiT's and VTC-LFC's 1e-5. The warm-up (five epochs from 1e-6) is
# DeiT's; VTC-LFC fine-tunes without, but Adam's first steps, all signs, would shake a pretrained model.
# Compactors get beta1 0.99 and no weight decay (ResRep).
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='CompactorConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        flat_decay_mult=0.,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.),
            cls_token=dict(decay_mult=0.),
            relative_position_bias_table=dict(decay_mult=0.))))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5, end=300, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=256)
