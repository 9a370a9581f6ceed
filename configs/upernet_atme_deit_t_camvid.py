# ATME DeiT-Tiny + UperNet on CamVid: merges before blocks 4 and 8 (0-based), as means of the dense weights at start.
_base_ = './upernet_deit_t_camvid.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
