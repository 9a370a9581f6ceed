# Dense Swin-Small, trained on for 300 epochs with hard distillation from itself.
_base_ = ['./swin_t_600e_imagenet.py', './_base_/backbones/swin_small.py']
model = dict(backbone=dict(_base_.swin_small.dense, drop_path_rate=0.3))
