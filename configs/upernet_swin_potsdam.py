# The small Swin of compress_swin_imagefolder.py + a narrow UperNet (64 channels) on Potsdam, for two CPU cores: data
# and schedule of upernet_deit_t_potsdam.py.
_base_ = './upernet_deit_t_potsdam.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='CAITSwin',
        arch=dict(
            name='small_swin',
            embed_dim=24,
            depths=(2, 2, 6, 2),
            num_heads=(1, 2, 4, 8),
            window_size=4,
            img_size=(128, 128)),
        drop_path_rate=0.05,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin_imagefolder.pth')),
    neck=None,
    decode_head=dict(in_channels=[24, 48, 96, 192]),
    auxiliary_head=dict(in_channels=96))
