# DeiT-Tiny under timm's name, which makes it a plain ViT as any other, with its official weights. Blocks count from 0.
# atme: merges before blocks 4 and 8 save 43.3 % of the backbone's MACs at 256x352 and leave 1.4 of 2.5 GMACs. They
# start as the mean of their tokens, on the dense weights.
# cait: the compressed checkpoint of `tools/compress.py --merge 4:horizontal,8:vertical` brings its own widths. The
# widths here stand in until it is there: 48 of 64 per head and 648 in the FFN save 54.0 % and leave 4.7 M parameters.
vit_tiny = dict(
    dense=dict(
        type='CAITViT',
        arch='deit_tiny_patch16_224',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_tiny_patch16_224-a1311bcf.pth')),
    atme=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
vit_tiny['cait'] = dict(
    vit_tiny['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=648,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_vit_tiny.pth'))
