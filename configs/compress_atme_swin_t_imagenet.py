# ATME alone on Swin-Tiny: merges before the last two blocks of the third stage save 20.3 % of the MACs (the paper's
# 20.1 %, 28.9 M parameters).
_base_ = './compress_swin_t_imagenet.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))
