# Dense Swin-Tiny + UperNet on iSAID (mIoU): 80k iterations at a total batch of 8, as Wang et al. (the paper's [93]).
_base_ = [
    './_base_/models/upernet_swin.py', './_base_/backbones/swin_tiny.py', './_base_/datasets/isaid.py',
    './_base_/schedules/adamw_80k.py', './_base_/seg_runtime.py'
]
crop_size = (896, 896)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=_base_.swin_tiny.dense,
    decode_head=dict(num_classes=16),
    auxiliary_head=dict(num_classes=16))
default_hooks = dict(checkpoint=dict(interval=8000))
auto_scale_lr = dict(base_batch_size=8)
