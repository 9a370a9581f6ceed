# A linear head on the frozen backbone that upernet_dinov2_camvid.py trained, on CamVid: 200 iterations at a batch of 4.
# UperNet reads maps without the final norm, so there is none here.
_base_ = [
    '../_base_/models/linear_vit.py', '../_base_/backbones/small_dinov2.py', '../_base_/datasets/camvid.py',
    '../_base_/schedules/linear_40k.py', '../_base_/seg_runtime.py'
]
model = dict(
    data_preprocessor=dict(size=(322, 322), test_cfg=dict(size_divisor=14)),
    backbone=dict(
        _base_.small_dinov2.trained, img_size=(320, 320), out_indices=(7, ), final_norm=False, frozen_stages=8),
    decode_head=dict(in_channels=128, num_classes=11),
    test_cfg=dict(crop_size=(322, 322), stride=(154, 154)))
train_dataloader = dict(batch_size=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=20),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=20, end=200, by_epoch=False),
]
train_cfg = dict(max_iters=200, val_interval=200)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
auto_scale_lr = dict(base_batch_size=4)
