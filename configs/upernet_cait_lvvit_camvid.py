# The small LV-ViT, compressed by compress_cait_lvvit_imagefolder.py: its export decides the widths.
_base_ = './upernet_lvvit_camvid.py'
model = dict(
    backbone=dict(
        merge=((3, 'horizontal'), (5, 'vertical')),
        init_cfg=dict(checkpoint='checkpoints/cait_lvvit_imagefolder.pth')))
