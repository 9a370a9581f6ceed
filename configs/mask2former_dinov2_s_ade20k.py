# Dense DINOv2-Small + Mask2Former on ADE20K, fine-tuned: the baseline of the compressed twins. Sizes as in
# upernet_dinov2_s_ade20k.py. Mask2Former's own recipe has a tenth of the rate in the backbone; here rates fall from
# block to block. `--cfg-options model.backbone.frozen_stages=12` freezes the backbone, as DINOv3 evaluates this head.
_base_ = [
    './_base_/models/mask2former_deit.py', './_base_/backbones/dinov2_small.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/layer_decay_160k.py', './_base_/seg_runtime.py'
]
model = dict(
    data_preprocessor=dict(size=(518, 518), test_cfg=dict(size_divisor=14)), backbone=_base_.dinov2_small.dense)
optim_wrapper = dict(clip_grad=dict(max_norm=0.01, norm_type=2))
train_dataloader = dict(batch_size=16)
