# ATME DeiT-Tiny + a narrow CASCADE decoder on ACDC: merges before blocks 4 and 8, as means of the dense weights.
_base_ = './cascade_decoder_deit_t_acdc.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (8, 'vertical'))))
