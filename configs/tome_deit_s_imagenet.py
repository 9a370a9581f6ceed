# ToMe on DeiT-Small, 13 tokens merged in every block, fine-tuned as the paper does for its comparison (Tab. XV).
_base_ = './deit_s_600e_imagenet.py'
model = dict(backbone=dict(tokens=dict(type='ToMe', r=13)))
