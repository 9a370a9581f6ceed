# ToMe (Tab. XV): 13 tokens merged in every block, fine-tuned as the paper does; 41.2 % of the MACs saved.
_base_ = ['./deit_s_600e_imagenet.py', './_base_/backbones/rivals.py']
model = dict(backbone=_base_.rivals.tome)
