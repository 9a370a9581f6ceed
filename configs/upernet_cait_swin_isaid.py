# The small Swin, compressed by compress_cait_swin_imagefolder.py: its export decides the widths.
_base_ = './upernet_atme_swin_isaid.py'
model = dict(backbone=dict(init_cfg=dict(checkpoint='checkpoints/cait_swin_imagefolder.pth')))
