# DINOv2-Base with timm's weights, and its compressed forms; more in dinov2_small.py.
# atme: merges before blocks 4 and 8 save 43.1 % of the backbone's MACs at 518x518 and leave 86.3 of 151.7 GMACs. They
# start as the mean of their tokens, on the dense weights.
# cait: DINOv2 and DINOv3 have no classifier to compress. linear_dinov2_b_ade20k.py is trained first, and its model.pth
# of `tools/compress.py --merge 4:horizontal,8:vertical` brings its own widths, for every head. The widths here stand in
# until it is there: 48 of 64 per head and 2608 in the FFN save 54.0 % and leave 73.3 M parameters.
dinov2_base = dict(
    dense=dict(
        type='CAITViT',
        arch='vit_base_patch14_dinov2.lvd142m',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit_base_patch14_dinov2.lvd142m.safetensors')),
    atme=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
dinov2_base['cait'] = dict(
    dinov2_base['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=2608,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_dinov2_base.pth'))
