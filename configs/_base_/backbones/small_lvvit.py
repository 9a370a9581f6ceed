# An LV-ViT that two CPU cores can train: 128x128 images, 0.08 GMACs. small/lvvit_imagefolder.py trains it.
# atme: merges before blocks 3 and 5 (from 0), at first the mean of their tokens.
# cait: the compressed checkpoint of small/compress_cait_lvvit_imagefolder.py decides the widths.
small_lvvit = dict(
    dense=dict(
        type='CAITLVViT',
        arch=dict(name='small_lvvit', embed_dim=96, depth=8, num_heads=3, stem_dim=16, img_size=(128, 128)),
        drop_path_rate=0.05),
    atme=dict(merge=((3, 'horizontal'), (5, 'vertical'))))
small_lvvit['trained'] = dict(
    small_lvvit['dense'], init_cfg=dict(type='Pretrained', checkpoint='checkpoints/lvvit_imagefolder.pth'))
small_lvvit['cait'] = dict(
    small_lvvit['atme'],
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_lvvit_imagefolder.pth'))
