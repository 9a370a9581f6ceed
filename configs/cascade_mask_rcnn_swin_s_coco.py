# Dense Swin-Small + Cascade Mask R-CNN on COCO.
_base_ = './cascade_mask_rcnn_swin_t_coco.py'
model = dict(
    backbone=dict(
        arch='swin_small',
        init_cfg=dict(checkpoint='checkpoints/swin_small_patch4_window7_224.pth')))
