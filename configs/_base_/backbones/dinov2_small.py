# DINOv2-Small with timm's weights, and its compressed forms. Blocks count from 0. Positions are those of 518x518: 37x37
# patches of 14 pixels, as many as a crop of 512x512 has when it is padded.
# atme: merges before blocks 4 and 8 save 45.3 % of the backbone's MACs at 518x518 and leave 25.6 of 46.8 GMACs. They
# start as the mean of their tokens, on the dense weights.
# cait: DINOv2 and DINOv3 have no classifier to compress. linear_dinov2_s_ade20k.py is trained first, and its model.pth
# of `tools/compress.py --merge 4:horizontal,8:vertical` brings its own widths, for every head. The widths here stand in
# until it is there: 48 of 64 per head and 1376 in the FFN save 55.0 % and leave 19.4 M parameters.
dinov2_small = dict(
    dense=dict(
        type='CAITViT',
        arch='vit_small_patch14_dinov2.lvd142m',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit_small_patch14_dinov2.lvd142m.safetensors')),
    atme=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
dinov2_small['cait'] = dict(
    dinov2_small['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=1376,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_dinov2_small.pth'))
