# ATME DeiT-Tiny + UperNet on iSAID: merges before blocks 4 and 8, as means of the dense weights at the start.
_base_ = './upernet_deit_t_isaid.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
