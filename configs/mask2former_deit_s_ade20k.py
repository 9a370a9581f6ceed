# Dense DeiT-Small + Mask2Former on ADE20K, 160k iterations: what the compressed twins are compared with.
_base_ = [
    './_base_/models/mask2former_deit.py', './_base_/datasets/ade20k.py', './_base_/schedules/adamw_160k.py',
    './_base_/seg_runtime.py'
]
model = dict(
    backbone=dict(
        arch='deit_small',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_small_patch16_224-cd65a155.pth')))
# Mask2Former is trained with its gradients clipped.
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))
