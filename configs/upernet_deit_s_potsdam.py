# Dense DeiT-Small + UperNet on ISPRS Potsdam (OA and mean F1): 80k iterations at a total batch of 8, as Wang et al.
# (the paper's [93]).
_base_ = [
    './_base_/models/upernet_deit.py', './_base_/backbones/deit_small.py', './_base_/datasets/potsdam.py',
    './_base_/schedules/adamw_80k.py', './_base_/seg_runtime.py'
]
crop_size = (512, 512)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(_base_.deit_small.dense, img_size=crop_size),
    decode_head=dict(num_classes=5),
    auxiliary_head=dict(num_classes=5))
default_hooks = dict(checkpoint=dict(interval=8000))
auto_scale_lr = dict(base_batch_size=8)
