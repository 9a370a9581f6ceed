# The small ViT with merges before blocks 2 and 5 + Mask R-CNN on the embedded scenes.
_base_ = './mask_rcnn_deit_scenes.py'
model = dict(backbone=dict(merge=((2, 'horizontal'), (5, 'vertical'))))
