# The small LV-ViT of lvvit_imagefolder.py + a narrow UperNet on CamVid, as upernet_swin_camvid.py.
_base_ = ['./upernet_deit_t_camvid.py', '../_base_/backbones/small_lvvit.py']
model = dict(
    backbone=dict(
        _base_.small_lvvit.trained,
        _delete_=True,
        img_size=(320, 320),
        out_indices=(1, 3, 5, 7),
        norm_eval=True),
    neck=dict(embed_dim=96),
    decode_head=dict(in_channels=[96] * 4),
    auxiliary_head=dict(in_channels=96))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=50, end=300, by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=300)
