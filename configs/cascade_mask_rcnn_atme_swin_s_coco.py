# ATME Swin-Small + Cascade Mask R-CNN on COCO: 33.7 % of the classifier's MACs at 224 saved.
_base_ = './cascade_mask_rcnn_swin_s_coco.py'
model = dict(backbone=dict(merge=(('2.7', 'horizontal'), ('2.12', 'vertical'))))
