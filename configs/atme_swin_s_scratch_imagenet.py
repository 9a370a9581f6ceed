# ATME Swin-Small trained from scratch for 300 epochs (Tab. XVII): 33.7 % of the MACs saved.
_base_ = ['./atme_swin_t_scratch_imagenet.py', './_base_/backbones/swin_small.py']
model = dict(backbone=dict(_base_.swin_small.atme, arch='swin_small', drop_path_rate=0.3))
