# ATME Swin-Tiny + UperNet on iSAID: merges before the last two blocks of the third stage. Start from your own run of
# atme_swin_t_scratch_imagenet.py (the paper's, Tab. XX) or, as here, from the dense weights.
_base_ = './upernet_swin_t_isaid.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))
