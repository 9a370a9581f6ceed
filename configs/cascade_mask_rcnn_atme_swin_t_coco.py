# ATME Swin-Tiny + Cascade Mask R-CNN on COCO: merges before the last two blocks of the third stage. Start from your own
# run of atme_swin_t_scratch_imagenet.py (the paper's) or, as here, from the dense weights.
_base_ = './cascade_mask_rcnn_swin_t_coco.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))
