# Semantic FPN on a plain ViT: XCiT's recipe (outputs of blocks 3, 5, 7, 11, token pyramid, an FPN as wide as the ViT).
# On DeiT-S at 512x512 the FPN holds 128^2 + 64^2 + 32^2 + 16^2 = 21760 positions of 10 x 384^2 weights: 32.1 GMACs, and
# its head 11.5. MMSegmentation's 256 channels would make them 15.0 and 8.3.
# An experiment sets backbone.arch, the neck, which holds embed_dim three times, and decode_head.in_channels.
_base_ = './upernet_deit.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
embed_dim = 384
model = dict(
    neck=[
        dict(type='TokenPyramid', embed_dim=embed_dim, rescales=(4, 2, 1, 0.5), norm_cfg=norm_cfg),
        dict(type='FPN', in_channels=[embed_dim] * 4, out_channels=embed_dim, num_outs=4),
    ],
    decode_head=dict(
        _delete_=True,
        type='FPNHead',
        in_channels=[embed_dim] * 4,
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=None)
