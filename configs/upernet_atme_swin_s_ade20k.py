# ATME Swin-Small + UperNet on ADE20K: 33.7 % of the classifier's MACs at 224 saved (paper: 33.7 %). The start as in
# upernet_atme_swin_t_ade20k.py.
_base_ = './upernet_swin_s_ade20k.py'
model = dict(backbone=dict(merge=(('2.7', 'horizontal'), ('2.12', 'vertical'))))
