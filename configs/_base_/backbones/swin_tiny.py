# Swin-Tiny with official weights, and its compressed forms. Places are stage.block, both from 0.
# atme: merges before the last two blocks of the third stage save 20.3 % of the classifier's MACs at 224x224 (20.1 % in
# the paper). They start as the mean of their tokens, on the dense weights; the paper starts from a training of its own,
# here atme_swin_t_scratch_imagenet.py.
# cait: a compressed checkpoint of tools/fold.py or tools/compress.py brings its own widths. The widths here stand in
# until it is there: they save 35.4 % (the paper's 35.4 %) and leave 25.5 M parameters (the paper's 25.5 M).
swin_tiny = dict(
    dense=dict(
        type='CAITSwin',
        arch='swin_tiny',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin_tiny_patch4_window7_224.pth')),
    atme=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))
swin_tiny['cait'] = dict(
    swin_tiny['atme'],
    qk_dim=[24] * 10 + [32] * 2,
    v_dim=[24] * 10 + [32] * 2,
    ffn_dim=[304] * 2 + [608] * 2 + [1272] * 6 + [2728] * 2,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_swin_tiny.pth'))
