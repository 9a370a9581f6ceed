# ATME DeiT-Tiny + UperNet on Potsdam: merges before blocks 4 and 8, as means of the dense weights at the start.
_base_ = './upernet_deit_t_potsdam.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
