# The small Swin of compress_swin_imagefolder.py + a narrow CASCADE decoder on polyps, for two CPU cores: data and
# schedule of cascade_decoder_deit_t_polyp.py.
_base_ = './cascade_decoder_deit_t_polyp.py'
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
    decode_head=dict(in_channels=[24, 48, 96, 192], widths=None))
