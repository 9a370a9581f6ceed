# A linear head on the frozen backbone that upernet_dinov3_camvid.py trained, on CamVid, as linear_dinov2_camvid.py.
_base_ = ['./linear_dinov2_camvid.py', '../_base_/backbones/small_dinov3.py']
model = dict(
    data_preprocessor=dict(size=(320, 320), test_cfg=dict(size_divisor=16)),
    backbone=dict(
        _base_.small_dinov3.trained, _delete_=True, img_size=(320, 320), out_indices=(7, ), frozen_stages=8),
    test_cfg=dict(crop_size=(320, 320), stride=(160, 160)))
