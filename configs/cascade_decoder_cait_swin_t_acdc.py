# CAIT Swin-Tiny + CASCADE's decoder on ACDC: the ATME twin's merges and pruned channels. The widths come with
# the compressed checkpoint; these stand in until it is there, as in upernet_cait_swin_t_ade20k.py.
_base_ = './cascade_decoder_atme_swin_t_acdc.py'
model = dict(
    backbone=dict(
        qk_dim=[24] * 10 + [32] * 2,
        v_dim=[24] * 10 + [32] * 2,
        ffn_dim=[304] * 2 + [608] * 2 + [1272] * 6 + [2728] * 2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_swin_tiny.pth')))
