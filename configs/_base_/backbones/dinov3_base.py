# DINOv3-Base with timm's weights, and its compressed forms; more in dinov3_small.py. At 1024x1024 merges save 47.8 % of
# 661.1 GMACs, and with the widths below 58.6 %: attention grows with the square of the tokens.
# atme: merges before blocks 4 and 8 save 43.0 % of the backbone's MACs at 512x512 and leave 61.3 of 107.6 GMACs. They
# start as the mean of their tokens, on the dense weights.
# cait: DINOv2 and DINOv3 have no classifier to compress. linear_dinov3_b_ade20k.py is trained first, and its model.pth
# of `tools/compress.py --merge 4:horizontal,8:vertical` brings its own widths, for every head. The widths here stand in
# until it is there: 48 of 64 per head and 2608 in the FFN save 53.8 % and leave 72.4 M parameters.
dinov3_base = dict(
    dense=dict(
        type='CAITViT',
        arch='vit_base_patch16_dinov3.lvd1689m',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit_base_patch16_dinov3.lvd1689m.safetensors')),
    atme=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
dinov3_base['cait'] = dict(
    dinov3_base['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=2608,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_dinov3_base.pth'))
