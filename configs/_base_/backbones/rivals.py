# The rivals of ATME that the paper compares, for the 12 blocks of a DeiT. Where a rival has a free number it is chosen
# to save what ATME saves before blocks 4 and 7. Shares are those of the classifier's MACs at 224x224, DeiT-S / DeiT-T;
# ATME's are 43.1 / 43.7 %. Counts of tokens are shares of the image's: 512x512 keeps as large a part of its patches;
# ToMe's r is not, so configs of other sizes have another. "structured" maps have the last features of dropped tokens in
# their places, "unstructured" ones a learned mask token.
rivals = dict(
    tome=dict(tokens=dict(type='ToMe', r=13)),  # its paper's 13: 41.2 / 41.4 %
    tome_half=dict(tokens=dict(type='ToMe', r=((4, 'half'), (7, 'half')))),  # "ToMe*", in ATME's places: 41.6 / 41.6 %
    tome_param=dict(tokens=dict(type='ToMe', r=14, linear=(0, 3, 6, 9))),  # "ToMe+Param": 42.7 / 43.0 %
    # the counts of its compression_rate.json for DeiT-Small at 2.7 G: 41.0 / 41.2 %
    diffrate=dict(
        tokens=dict(
            type='DiffRate',
            kept=(197, 196, 182, 160, 141, 127, 115, 105, 88, 66, 49, 3),
            merged=(197, 188, 170, 147, 131, 119, 109, 96, 76, 54, 45, 3))),
    evit_structured=dict(tokens=dict(type='EViT', keep=0.59)),  # 43.4 / 43.6 %
    evit_unstructured=dict(tokens=dict(type='EViT', keep=0.59, restore='unstructured')),
    evovit=dict(tokens=dict(type='EvoViT')))  # its paper's half of the patches from block 4 on: 34.0 / 34.8 %
# VTC-LFC's tokens. Its own counts are only in its checkpoints; these fall by the same factor, 0.905, in every block:
# 43.2 / 43.7 %. Its channels come with a checkpoint of tools/compress.py --score lfs.
rivals['lfe_structured'] = dict(
    tokens=dict(type='LFE', kept=(177, 161, 145, 131, 119, 108, 97, 88, 80, 72, 65, 59)))
rivals['lfe_unstructured'] = dict(tokens=dict(rivals['lfe_structured']['tokens'], restore='unstructured'))
