# ATME DeiT-Tiny + Mask2Former on CamVid: merges before blocks 4 and 8, as means of the dense weights at the start.
_base_ = './mask2former_deit_t_camvid.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
