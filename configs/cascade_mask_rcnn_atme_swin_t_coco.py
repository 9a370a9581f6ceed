# ATME: tokens merged; the encoder takes 133.77 of 155.31 GMACs at 800x1344.
_base_ = './cascade_mask_rcnn_swin_t_coco.py'
model = dict(backbone=_base_.swin_tiny.atme)
