# ATME DeiT-Tiny + a narrow CASCADE decoder on polyps: merges before blocks 4 and 8, as means of the dense weights.
_base_ = './cascade_decoder_deit_t_polyp.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
