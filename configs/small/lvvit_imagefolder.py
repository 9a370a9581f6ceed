# A small LV-ViT trained from scratch on an ImageFolder of small images: 128x128, 0.08 GMACs. The start and the teacher
# of compress_cait_lvvit_imagefolder.py.
_base_ = ['./swin_imagefolder.py', '../_base_/backbones/small_lvvit.py']
model = dict(backbone=dict(_base_.small_lvvit.dense, _delete_=True))
