# CAIT DeiT-Small + Mask R-CNN on COCO: the ATME twin's merges and pruned channels; the widths come with the compressed
# checkpoint, these stand in (upernet_cait_deit_s_ade20k.py has their arithmetic).
_base_ = './mask_rcnn_atme_deit_s_coco.py'
model = dict(
    backbone=dict(
        qk_dim=48,
        v_dim=48,
        ffn_dim=[1256, 1264] * 6,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_small.pth')))
