# The small Swin of swin_imagefolder.py + a narrow CASCADE decoder on polyps, for two CPU cores: data and schedule of
# cascade_decoder_deit_t_polyp.py.
_base_ = ['./cascade_decoder_deit_t_polyp.py', '../_base_/backbones/small_swin.py']
model = dict(
    backbone=dict(_base_.small_swin.trained, _delete_=True),
    neck=None,
    decode_head=dict(in_channels=[24, 48, 96, 192], widths=None))
