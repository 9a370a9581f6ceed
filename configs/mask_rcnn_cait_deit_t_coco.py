# CAIT DeiT-Tiny + Mask R-CNN on COCO: an export of tools/fold.py or tools/compress.py as the backbone. The widths
# come with the compressed checkpoint; these stand in, as in upernet_cait_deit_t_ade20k.py.
_base_ = './mask_rcnn_atme_deit_t_coco.py'
model = dict(
    backbone=dict(
        qk_dim=48,
        v_dim=48,
        ffn_dim=[688, 696] * 6,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_tiny.pth')))
