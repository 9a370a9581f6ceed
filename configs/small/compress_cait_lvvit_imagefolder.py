# CAIT on the small LV-ViT of lvvit_imagefolder.py (folded by tools/fold.py), in a short run.
_base_ = ['./compress_cait_swin_imagefolder.py', '../_base_/backbones/small_lvvit.py']
model = dict(
    backbone=dict(_base_.small_lvvit.trained, **_base_.small_lvvit.atme, _delete_=True),
    cdcp=dict(target=0.4))
