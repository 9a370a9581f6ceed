# CAIT DeiT-Tiny + a narrow CASCADE decoder on ACDC: an export of tools/fold.py or tools/compress.py as the backbone.
# The widths come with it; these stand in, as in upernet_cait_deit_t_ade20k.py.
_base_ = './cascade_decoder_atme_deit_t_acdc.py'
model = dict(
    backbone=dict(
        qk_dim=48,
        v_dim=48,
        ffn_dim=[688, 696] * 6,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_tiny.pth')))
