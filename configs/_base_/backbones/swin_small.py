# Swin-Small with official weights, and its compressed forms. Places are stage.block, both from 0.
# atme: merges before blocks 7 and 12 of the third stage save 33.7 % of the classifier's MACs at 224x224 (33.7 % in the
# paper). They start as the mean of their tokens, on the dense weights; the paper starts from a training of its own,
# here atme_swin_s_scratch_imagenet.py.
# cait: a compressed checkpoint of tools/fold.py or tools/compress.py brings its own widths. The widths here stand in
# until it is there: they save 48.8 %, the target of compress_cait_swin_s_imagenet.py. The paper has no such model.
swin_small = dict(
    dense=dict(
        type='CAITSwin',
        arch='swin_small',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin_small_patch4_window7_224.pth')),
    atme=dict(merge=(('2.7', 'horizontal'), ('2.12', 'vertical'))))
swin_small['cait'] = dict(
    swin_small['atme'],
    qk_dim=[24] * 22 + [32] * 2,
    v_dim=[24] * 22 + [32] * 2,
    ffn_dim=[296] * 2 + [592] * 2 + [1160] * 18 + [2784] * 2,
    init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_swin_small.pth'))
