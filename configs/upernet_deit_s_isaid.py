# Dense DeiT-Small + UperNet on iSAID (mIoU): 80k iterations at a total batch of 8, as Wang et al. (the paper's [93]).
_base_ = [
    './_base_/models/upernet_deit.py', './_base_/datasets/isaid.py', './_base_/schedules/adamw_80k.py',
    './_base_/seg_runtime.py'
]
crop_size = (896, 896)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        arch='deit_small',
        img_size=crop_size,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_small_patch16_224-cd65a155.pth')),
    decode_head=dict(num_classes=16),
    auxiliary_head=dict(num_classes=16))
default_hooks = dict(checkpoint=dict(interval=8000))
auto_scale_lr = dict(base_batch_size=8)
