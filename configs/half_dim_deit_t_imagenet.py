# "DeiT-half dim" (paper, Tab. XIII): 132 channels halve the MACs, 0.64 G, 2.79 M parameters (the paper's 0.6 G, 2.8 M).
_base_ = './atme_deit_t_scratch_imagenet.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, name='deit_half_dim', embed_dim=132, depth=12, num_heads=3), merge=()))
