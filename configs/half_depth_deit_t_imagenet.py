# "DeiT-half depth" (paper, Tab. XIII): 6 dense blocks, 0.64 GMACs, 3.05 M parameters (the paper's 0.6 G, 3.0 M).
_base_ = './atme_deit_t_scratch_imagenet.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, name='deit_half_depth', embed_dim=192, depth=6, num_heads=3), merge=()))
