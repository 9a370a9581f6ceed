# A linear head on the last map of a frozen plain ViT: how DINOv2 and DINOv3 evaluate their features. The backbone's
# final norm, a batch norm and one 1x1 convolution; nothing else is trained. Pictures are tested in windows, as there.
# An experiment sets the backbone, decode_head.in_channels and num_classes.
_base_ = './upernet_deit.py'
model = dict(
    backbone=dict(out_indices=(11, ), final_norm=True, frozen_stages=12, drop_path_rate=0.),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='cait_mm.heads.linear.LinearHead',
        in_channels=384,
        in_index=0,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=None,
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
