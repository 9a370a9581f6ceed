# A small ViT of DINOv2's form + a narrow UperNet on CamVid, as upernet_deit_t_camvid.py, from random weights. Crops of
# 320x320 are padded to 322x322 and pictures to multiples of 14.
_base_ = ['./upernet_deit_t_camvid.py', '../_base_/backbones/small_dinov2.py']
model = dict(
    data_preprocessor=dict(size=(322, 322), test_cfg=dict(size_divisor=14)),
    backbone=dict(
        _base_.small_dinov2.dense, _delete_=True, img_size=(320, 320), out_indices=(1, 3, 5, 7), drop_path_rate=0.1),
    neck=dict(embed_dim=128),
    decode_head=dict(in_channels=[128] * 4),
    auxiliary_head=dict(in_channels=128))
