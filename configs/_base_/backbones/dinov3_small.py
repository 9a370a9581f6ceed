# DINOv3-Small with timm's weights, and its compressed forms. Blocks count from 0. Positions are rotary: no size of
# image needs resampling, and a merged token stands at the mean of its patches' places.
# atme: merges before blocks 4 and 8 save 44.8 % of the backbone's MACs at 512x512 and leave 17.6 of 32.0 GMACs. They
# start as the mean of their tokens, on the dense weights.
# cait: DINOv2 and DINOv3 have no classifier to compress. linear_dinov3_s_ade20k.py is trained first, and its model.pth
# of `tools/compress.py --merge 4:horizontal,8:vertical` brings its own widths, for every head. The widths here stand in
# until it is there: 48 of 64 per head and 1376 in the FFN save 54.3 % and leave 18.9 M parameters.
dinov3_small = dict(
    dense=dict(
        type='CAITViT',
        arch='vit_small_patch16_dinov3.lvd1689m',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit_small_patch16_dinov3.lvd1689m.safetensors')),
    atme=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
dinov3_small['cait'] = dict(
    dinov3_small['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=1376,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_dinov3_small.pth'))
