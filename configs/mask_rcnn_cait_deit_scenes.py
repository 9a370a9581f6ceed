# The small ViT, compressed by compress_cait_deit_scenes.py, + Mask R-CNN on the embedded scenes: its export decides the
# widths; these stand in, as in upernet_cait_deit_scenes.py.
_base_ = './mask_rcnn_atme_deit_scenes.py'
model = dict(
    backbone=dict(
        qk_dim=24,
        v_dim=24,
        ffn_dim=432,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/cait_deit_scenes.pth')))
