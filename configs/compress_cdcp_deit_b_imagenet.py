# CDCP alone on DeiT-Base. The paper has no such row; the share is its DeiT-Small's.
_base_ = './deit_b_600e_imagenet.py'
model = dict(cdcp=dict(target=0.381))
