# ATME Swin-Small trained from scratch for 300 epochs (Tab. XVII): 33.7 % of the MACs saved.
_base_ = './atme_swin_t_scratch_imagenet.py'
model = dict(
    backbone=dict(arch='swin_small', merge=(('2.7', 'horizontal'), ('2.12', 'vertical')), drop_path_rate=0.3))
