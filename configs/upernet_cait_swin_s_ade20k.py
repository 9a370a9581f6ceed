# CAIT Swin-Small + UperNet on ADE20K: the ATME twin's merges and pruned channels. The widths come with the compressed
# checkpoint; these stand in until it is there: they save 48.8 % of the classifier's MACs, the target of
# compress_cait_swin_s_imagenet.py. The paper has no such model.
_base_ = './upernet_atme_swin_s_ade20k.py'
model = dict(
    backbone=dict(
        qk_dim=[24] * 22 + [32] * 2,
        v_dim=[24] * 22 + [32] * 2,
        ffn_dim=[296] * 2 + [592] * 2 + [1160] * 18 + [2784] * 2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_swin_small.pth')))
