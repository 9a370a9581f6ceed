# DeiT-Base with official weights, and its compressed forms. Blocks count from 0.
# atme: merges before blocks 4 and 7 save 42.8 % of the classifier's MACs at 224x224 and leave 58.7 of 107.1 GMACs at
# 512x512 (1.82x). They start as the mean of their tokens, on the dense weights; after a compression run, point init_cfg
# at its compressed checkpoint.
# cait: a compressed checkpoint of tools/fold.py or tools/compress.py brings its own widths. The widths here stand in
# until it is there: 48 per head and 2200 in the FFN save 57.9 % (the paper's 57.9 %) and leave 65.8 M parameters (the
# paper's 71.3 M: its cuts fall on blocks with many tokens).
deit_base = dict(
    dense=dict(
        type='CAITDeiT',
        arch='deit_base',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/deit_base_patch16_224-b5f2ef4d.pth')),
    atme=dict(merge=((4, 'horizontal'), (7, 'vertical'))))
deit_base['cait'] = dict(
    deit_base['atme'],
    qk_dim=48,
    v_dim=48,
    ffn_dim=2200,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_base.pth'))
