# CAIT DeiT-Small + CASCADE's decoder on ACDC: the ATME twin's merges and pruned channels. The widths come with
# the compressed checkpoint; these stand in until it is there, as in upernet_cait_deit_s_ade20k.py.
_base_ = './cascade_decoder_atme_deit_s_acdc.py'
model = dict(
    backbone=dict(
        qk_dim=48,
        v_dim=48,
        ffn_dim=[1256, 1264] * 6,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_small.pth')))
