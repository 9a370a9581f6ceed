# The small Swin, compressed by compress_cait_swin_imagefolder.py: its export decides the widths.
_base_ = './cascade_decoder_atme_swin_polyp.py'
model = dict(backbone=dict(init_cfg=dict(checkpoint='checkpoints/cait_swin_imagefolder.pth')))
