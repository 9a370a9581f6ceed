# ATME DeiT-Small + CASCADE's decoder on polyps: merges before blocks 4 and 7 (0-based), as in
# upernet_atme_deit_s_ade20k.py. The weights are the dense ones: merges start as the mean of their two tokens.
_base_ = './cascade_decoder_deit_s_polyp.py'
model = dict(backbone=dict(merge=((4, 'horizontal'), (7, 'vertical'))))
