# ToMe on DeiT-Small at ATME's places: half of the tokens before the FFNs of blocks 4 and 7 (0-based), which saves
# 41.6 % of the MACs.
_base_ = './deit_s_600e_imagenet.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=((4, 'half'), (7, 'half')))))
