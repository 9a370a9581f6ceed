# ATME alone on Swin-Tiny: merges before the last two blocks of the third stage save 20.3 % of the MACs (the paper's
# 20.1 %, 28.9 M parameters).
_base_ = './swin_t_600e_imagenet.py'
model = dict(backbone=_base_.swin_tiny.atme)
