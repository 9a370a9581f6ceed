# ToMe DeiT-Small + UperNet on ADE20K, to be compared with ATME: half of the tokens before the FFNs of blocks 4 and 7,
# maps restored by giving every patch the token it ended in.
_base_ = './upernet_deit_s_ade20k.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=((4, 'half'), (7, 'half')))))
