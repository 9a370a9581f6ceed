# ATME Swin-Tiny + UperNet on ADE20K: merges before the last two blocks of the third stage save 20.3 % of the
# classifier's MACs at 224. Start from your own run of atme_swin_t_scratch_imagenet.py (the paper's) or, as here, from
# the dense weights, whose tokens the merges average at first.
_base_ = './upernet_swin_t_ade20k.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))
