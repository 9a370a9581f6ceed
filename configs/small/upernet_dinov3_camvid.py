# A small ViT of DINOv3's form + a narrow UperNet on CamVid, as upernet_dinov2_camvid.py. Pictures are padded to
# multiples of 16.
_base_ = ['./upernet_dinov2_camvid.py', '../_base_/backbones/small_dinov3.py']
model = dict(
    data_preprocessor=dict(size=(320, 320), test_cfg=dict(size_divisor=16)),
    backbone=dict(
        _base_.small_dinov3.dense, _delete_=True, img_size=(320, 320), out_indices=(1, 3, 5, 7), drop_path_rate=0.1))
