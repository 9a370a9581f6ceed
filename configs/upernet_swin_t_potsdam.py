# Dense Swin-Tiny + UperNet on ISPRS Potsdam (OA and mean F1): 80k iterations at a total batch of 8, as Wang et al. (the
# paper's [93]).
_base_ = [
    './_base_/models/upernet_swin.py', './_base_/backbones/swin_tiny.py', './_base_/datasets/potsdam.py',
    './_base_/schedules/adamw_80k.py', './_base_/seg_runtime.py'
]
crop_size = (512, 512)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=_base_.swin_tiny.dense,
    decode_head=dict(num_classes=5),
    auxiliary_head=dict(num_classes=5))
default_hooks = dict(checkpoint=dict(interval=8000))
auto_scale_lr = dict(base_batch_size=8)
