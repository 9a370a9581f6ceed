# ViT-Base with MAE's weights as timm has them, and its compressed forms. Blocks count from 0. AugReg's weights go in by
# the name vit_base_patch16_224.augreg_in21k; they want images with mean and std 127.5.
# atme: merges before blocks 4 and 8 save 47.8 % of the backbone's MACs at 1024x1024 and leave 344.7 of 660.2 GMACs.
# They start as the mean of their tokens, on the dense weights.
# cait: MAE has no classifier to compress. A detector on the dense twin is trained first, and its model.pth of
# `tools/compress.py --merge 4:horizontal,8:vertical` brings its own widths. The widths here stand in until it is there:
# 48 of 64 per head and 2608 in the FFN save 58.6 % and leave 72.5 M parameters.
vit_base = dict(
    dense=dict(
        type='CAITViT',
        arch='vit_base_patch16_224.mae',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vit_base_patch16_224.mae.safetensors')),
    atme=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
vit_base['cait'] = dict(
    vit_base['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=2608,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_vit_base.pth'))
