# The quick start's ViT: 128 wide, 8 blocks, 192x192 images as 12x12 tokens, 0.29 GMACs. small/deit_scenes.py trains it.
# atme: merges before blocks 2 and 5 (from 0) leave 12x6, then 6x6 tokens and save 45 % of the classifier's MACs.
# cait: the compressed checkpoint of small/compress_cait_deit_scenes.py brings its own widths. The widths here stand in
# until it is there: they save 55 %.
small_vit = dict(
    dense=dict(
        type='CAITDeiT',
        arch=dict(name='small_scenes', embed_dim=128, depth=8, num_heads=4, img_size=(192, 192)),
        drop_path_rate=0.),
    atme=dict(merge=((2, 'horizontal'), (5, 'vertical'))))
small_vit['trained'] = dict(
    small_vit['dense'], init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_scenes.pth'))
small_vit['cait'] = dict(
    small_vit['atme'],
    qk_dim=24,
    v_dim=24,
    ffn_dim=432,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_scenes.pth'))
