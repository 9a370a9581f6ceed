# DeiT-Small with official weights, and its compressed forms. Blocks count from 0.
# atme: merges before blocks 4 and 7 save 43.1 % of the classifier's MACs at 224x224 and leave 16.9 of 31.8 GMACs at
# 512x512 (1.88x). They start as the mean of their tokens, on the dense weights; after a compression run, point init_cfg
# at its compressed checkpoint.
# cait: a compressed checkpoint of tools/fold.py or tools/compress.py brings its own widths. The widths here stand in
# until it is there: 48 per head and about 1260 in the FFN save 54.4 % (the paper's 54.4 %) and leave 18.3 M parameters
# (the paper's 18.4 M).
deit_small = dict(
    dense=dict(
        type='CAITDeiT',
        arch='deit_small',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_small_patch16_224-cd65a155.pth')),
    atme=dict(merge=((4, 'horizontal'), (7, 'vertical'))))
deit_small['cait'] = dict(
    deit_small['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=[1256, 1264] * 6,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_small.pth'))
