# CASCADE's decoder on a plain ViT, through the token pyramid (paper, section IV-B3; outputs as in upernet_deit.py).
# Widths are those of CASCADE's own backbone, PVTv2: keeping the pyramid's 384 channels at 1/4 would cost 23 GMACs at
# 224x224, five times the backbone. Loss: 0.3 CE + 0.7 Dice, summed over the four predictions (CASCADE's trainer.py).
# The full module paths make MMEngine import the classes when they are needed: they need MMSegmentation.
norm_cfg = dict(type='SyncBN', requires_grad=True)
embed_dim = 384
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(224, 224)),
    pretrained=None,
    backbone=dict(type='CAITDeiT', img_size=(224, 224), out_indices=(3, 5, 7, 11), drop_path_rate=0.1),
    neck=dict(type='TokenPyramid', embed_dim=embed_dim, rescales=(4, 2, 1, 0.5), norm_cfg=norm_cfg),
    decode_head=dict(
        type='cait_mm.heads.cascade.CascadeHead',
        in_channels=[embed_dim] * 4,
        widths=[64, 128, 320, 512],
        num_classes=9,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=[
            dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.3),
            dict(type='cait_mm.heads.losses.ClasswiseDiceLoss', loss_weight=0.7)
        ]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
