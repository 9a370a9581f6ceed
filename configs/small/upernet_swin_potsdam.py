# The small Swin of swin_imagefolder.py + a narrow UperNet (64 channels) on Potsdam, for two CPU cores: data and
# schedule of upernet_deit_t_potsdam.py.
_base_ = ['./upernet_deit_t_potsdam.py', '../_base_/backbones/small_swin.py']
model = dict(
    backbone=dict(_base_.small_swin.trained, _delete_=True),
    neck=None,
    decode_head=dict(in_channels=[24, 48, 96, 192]),
    auxiliary_head=dict(in_channels=96))
