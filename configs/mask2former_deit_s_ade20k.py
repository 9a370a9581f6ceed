# Dense DeiT-Small + Mask2Former on ADE20K, 160k iterations: the baseline of the compressed twins. Optimizer,
# schedule and scales are the paper's for all its heads (section IV-B1). Mask2Former's own are AdamW 1e-4, weight decay
# 0.05, a tenth of the rate in the backbone, no warm-up, poly 0.9, shorter sides of 256 to 1024, a batch of 16.
_base_ = [
    './_base_/models/mask2former_deit.py', './_base_/backbones/deit_small.py', './_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_160k.py', './_base_/seg_runtime.py'
]
model = dict(
    backbone=dict(_base_.deit_small.dense, drop_path_rate=[0.05] * 12))  # XCiT's for S: the same in every block
# Mask2Former's own: gradients clipped, no decay of any norm or embedding.
embed = dict(decay_mult=0.)
optim_wrapper = dict(
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        norm_decay_mult=0., custom_keys=dict(query_embed=embed, query_feat=embed, level_embed=embed)))
