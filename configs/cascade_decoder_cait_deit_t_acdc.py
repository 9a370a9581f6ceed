# CAIT DeiT-Tiny + a narrow CASCADE decoder: an export of tools/compress.py (or of a compression run) as the backbone.
# The widths come with it; these stand in, as in upernet_cait_deit_t_ade20k.py.
_base_ = './cascade_decoder_deit_t_acdc.py'
model = dict(
    backbone=dict(
        merge=((4, 'horizontal'), (8, 'vertical')),
        qk_dim=48,
        v_dim=48,
        ffn_dim=692,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_tiny.pth')))
