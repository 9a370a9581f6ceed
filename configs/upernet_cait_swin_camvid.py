# The small Swin, compressed by compress_cait_swin_imagefolder.py: its export decides the widths.
_base_ = './upernet_swin_camvid.py'
model = dict(
    backbone=dict(
        merge=(('2.4', 'horizontal'), ('2.5', 'vertical')),
        init_cfg=dict(checkpoint='checkpoints/cait_swin_imagefolder.pth')))
