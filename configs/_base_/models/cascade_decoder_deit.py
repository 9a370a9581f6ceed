# CASCADE's decoder on a plain ViT, through the token pyramid (paper, section IV-B3; outputs as in upernet_deit.py).
# Widths are those of CASCADE's own backbone, PVTv2: keeping the pyramid's 384 channels at 1/4 would cost 23 GMACs at
# 224x224, five times the backbone. Loss: 0.3 CE + 0.7 Dice, summed over the four predictions (CASCADE's trainer.py).
# Stochastic depth grows to 0.1, in CASCADE's PVTv2 too.
# The full module paths make MMEngine import the classes when they are needed: they need MMSegmentation.
_base_ = './upernet_deit.py'
model = dict(
    data_preprocessor=dict(size=(224, 224)),
    backbone=dict(img_size=(224, 224)),
    decode_head=dict(
        _delete_=True,
        type='cait_mm.heads.cascade.CascadeHead',
        in_channels=[384] * 4,
        widths=[64, 128, 320, 512],
        num_classes=9,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=[
            dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.3),
            dict(type='cait_mm.heads.losses.ClasswiseDiceLoss', loss_weight=0.7)
        ]),
    auxiliary_head=None)
