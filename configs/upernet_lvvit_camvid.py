# The small LV-ViT of compress_lvvit_imagefolder.py + a narrow UperNet on CamVid, as upernet_swin_camvid.py.
_base_ = './upernet_deit_t_camvid.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CAITLVViT',
        arch=dict(
            name='small_lvvit', embed_dim=96, depth=8, num_heads=3, stem_dim=16, img_size=(128, 128)),
        img_size=(320, 320),
        out_indices=(1, 3, 5, 7),
        drop_path_rate=0.05,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/lvvit_imagefolder.pth')),
    neck=dict(embed_dim=96),
    decode_head=dict(in_channels=[96] * 4),
    auxiliary_head=dict(in_channels=96))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0., power=1.0, begin=50, end=300, by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=300)
