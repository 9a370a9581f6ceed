# A Swin that two CPU cores can train: 128x128 images, windows of 4, 0.10 GMACs. small/swin_imagefolder.py trains it.
# atme: merges before the last two blocks of the third stage (stage.block, both from 0), at first the mean of their
# tokens.
# cait: the compressed checkpoint of small/compress_cait_swin_imagefolder.py decides the widths.
small_swin = dict(
    dense=dict(
        type='CAITSwin',
        arch=dict(
            name='small_swin',
            embed_dim=24,
            depths=(2, 2, 6, 2),
            num_heads=(1, 2, 4, 8),
            window_size=4,
            img_size=(128, 128)),
        drop_path_rate=0.05),
    atme=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))
small_swin['trained'] = dict(
    small_swin['dense'], init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin_imagefolder.pth'))
small_swin['cait'] = dict(
    small_swin['atme'],
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_swin_imagefolder.pth'))
