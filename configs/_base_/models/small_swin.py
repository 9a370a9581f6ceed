# A Swin that two CPU cores can train: 128x128 images, windows of 4, 0.10 GMACs.
small_swin = dict(
    type='CAITSwin',
    arch=dict(
        name='small_swin',
        embed_dim=24,
        depths=(2, 2, 6, 2),
        num_heads=(1, 2, 4, 8),
        window_size=4,
        img_size=(128, 128)),
    drop_path_rate=0.05)
trained_small_swin = dict(
    small_swin, init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin_imagefolder.pth'))
