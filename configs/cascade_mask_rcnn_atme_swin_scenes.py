# The small Swin + Cascade Mask R-CNN: merges before the last two blocks of the third stage, as means at the start.
_base_ = './cascade_mask_rcnn_swin_scenes.py'
model = dict(backbone=dict(merge=(('2.4', 'horizontal'), ('2.5', 'vertical'))))
