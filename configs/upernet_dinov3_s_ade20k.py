# Dense DINOv3-Small + UperNet on ADE20K, as upernet_dinov2_s_ade20k.py. Crops of 512x512 are 32x32 patches; pictures
# are padded to multiples of 16.
_base_ = ['./upernet_dinov2_s_ade20k.py', './_base_/backbones/dinov3_small.py']
model = dict(
    data_preprocessor=dict(size=(512, 512), test_cfg=dict(size_divisor=16)),
    backbone=_base_.dinov3_small.dense)
