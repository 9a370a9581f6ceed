# DeiT-Tiny with official weights, and its compressed forms. Blocks count from 0.
# atme: merges before blocks 4 and 8 save 41.7 % of the classifier's MACs at 224x224 and leave 5.5 of 10.5 GMACs at
# 512x512 (1.90x). They start as the mean of their tokens, on the dense weights; after a compression run, point init_cfg
# at its compressed checkpoint.
# cait: a compressed checkpoint of tools/fold.py or tools/compress.py brings its own widths. The widths here stand in
# until it is there: 48 per head and about 692 in the FFN save 50.5 % (the paper's 50.5 %) and leave 5.1 M parameters
# (the paper's 5.1 M).
deit_tiny = dict(
    dense=dict(
        type='CAITDeiT',
        arch='deit_tiny',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_tiny_patch16_224-a1311bcf.pth')),
    atme=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
deit_tiny['cait'] = dict(
    deit_tiny['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=[688, 696] * 6,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_tiny.pth'))
