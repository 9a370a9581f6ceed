# UperNet on a plain ViT: XCiT's recipe (outputs of blocks 3, 5, 7, 11, token pyramid, an auxiliary FCN). Stochastic
# depth is DeiT's, growing to 0.1; the ADE20K configs have XCiT's.
# An experiment sets backbone.arch, the three embed_dim of neck and heads, and num_classes.
norm_cfg = dict(type='SyncBN', requires_grad=True)
embed_dim = 384
num_classes = 150
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512)),
    pretrained=None,
    backbone=dict(
        type='CAITDeiT', img_size=(512, 512), out_indices=(3, 5, 7, 11), drop_path_rate=0.1),
    neck=dict(type='TokenPyramid', embed_dim=embed_dim, rescales=(4, 2, 1, 0.5), norm_cfg=norm_cfg),
    decode_head=dict(
        type='UPerHead',
        in_channels=[embed_dim] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=embed_dim,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
