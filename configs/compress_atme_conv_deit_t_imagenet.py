# "ATME+Conv" (paper, Tab. XIII): a depthwise 3x3 convolution behind every merge.
_base_ = './deit_t_600e_imagenet.py'
model = dict(backbone=dict(merge=((3, 'horizontal_conv'), (7, 'vertical_conv'), (9, 'horizontal_conv'))))
