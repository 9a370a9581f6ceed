# A ViT of DINOv3's form that two CPU cores can train: rotary positions, 4 registers, LayerScale, no biases of q, k and
# v. LayerScale starts at 0.1 instead of 1e-5, because these weights start at random.
# atme: merges before blocks 3 and 5 (from 0) save 42.0 % at 320x320 and leave 0.59 of 1.02 GMACs. They start as the
# mean of their tokens.
# trained: the weights that small/upernet_dinov3_camvid.py trained, for a frozen backbone.
# cait: the model.pth of `tools/compress.py --merge 3:horizontal,5:vertical`, from the run of
# small/upernet_dinov3_camvid.py, brings its own widths. The widths here stand in until it is there: 24 of 32 per head
# and 432 in the FFN save 52.9 %.
small_dinov3 = dict(
    dense=dict(
        type='CAITViT',
        arch=dict(
            name='small_dinov3',
            embed_dim=128,
            depth=8,
            num_heads=4,
            img_size=(320, 320),
            reg_tokens=4,
            pos_embed=False,
            rope=dict(type='dinov3', temperature=100., rotate_half=True),
            qkv_bias=False,
            init_values=0.1)),
    atme=dict(merge=((3, 'horizontal'), (5, 'vertical'))))
small_dinov3['trained'] = dict(
    small_dinov3['dense'], init_cfg=dict(type='Pretrained', checkpoint='checkpoints/upernet_dinov3_camvid.pth'))
small_dinov3['cait'] = dict(
    small_dinov3['atme'],
    qk_dim=24,
    v_dim=24,
    ffn_dim=432,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_dinov3_camvid.pth'))
