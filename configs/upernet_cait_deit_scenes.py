# Quick start: the compressed twin of upernet_deit_scenes.py, from the export of compress_cait_deit_scenes.py. Until
# that is there these widths stand in: with the merges they save 55 % of the classifier's MACs.
_base_ = './upernet_atme_deit_scenes.py'
model = dict(
    backbone=dict(
        qk_dim=24,
        v_dim=24,
        ffn_dim=432,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_scenes.pth')))
