# Dense Swin-Small + Cascade Mask R-CNN on COCO.
_base_ = './cascade_mask_rcnn_swin_t_coco.py'
model = dict(
    backbone=dict(
        arch='swin_small',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='checkpoints/swin_small_patch4_window7_224.pth')))
