# A ViT of DINOv2's form that two CPU cores can train: patches of 14 pixels, 4 registers, LayerScale. 322x322 pixels are
# 23x23 patches, as many as a crop of 320x320 has when it is padded. LayerScale starts at 0.1 instead of 1e-5, because
# these weights start at random.
# atme: merges before blocks 3 and 5 (from 0) save 42.4 % at 322x322 and leave 0.85 of 1.47 GMACs. They start as the
# mean of their tokens.
# trained: the weights that small/upernet_dinov2_camvid.py trained, for a frozen backbone.
# cait: the model.pth of `tools/compress.py --merge 3:horizontal,5:vertical`, from the run of
# small/upernet_dinov2_camvid.py, brings its own widths. The widths here stand in until it is there: 24 of 32 per head
# and 432 in the FFN save 53.6 %.
small_dinov2 = dict(
    dense=dict(
        type='CAITViT',
        arch=dict(
            name='small_dinov2',
            embed_dim=128,
            depth=8,
            num_heads=4,
            patch_size=14,
            img_size=(322, 322),
            reg_tokens=4,
            no_embed_class=True,
            init_values=0.1)),
    atme=dict(merge=((3, 'horizontal'), (5, 'vertical'))))
small_dinov2['trained'] = dict(
    small_dinov2['dense'], init_cfg=dict(type='Pretrained', checkpoint='checkpoints/upernet_dinov2_camvid.pth'))
small_dinov2['cait'] = dict(
    small_dinov2['atme'],
    qk_dim=24,
    v_dim=24,
    ffn_dim=432,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_dinov2_camvid.pth'))
