# A Cascade Mask R-CNN that two CPU cores can train on the small Swin: 64 channels, 64 boxes a picture, box heads of one
# convolution. An experiment sets num_classes.
_base_ = ['./cascade_mask_rcnn_swin.py', '../backbones/small_swin.py']
channels = 64
model = dict(
    backbone=_base_.small_swin.trained,
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=channels),
    rpn_head=dict(in_channels=channels, feat_channels=channels),
    roi_head=dict(
        # two samples a bin: a box's cost does not grow with its size
        bbox_roi_extractor=dict(out_channels=channels, roi_layer=dict(sampling_ratio=2)),
        bbox_head=[
            dict(head, num_shared_convs=1, in_channels=channels, conv_out_channels=channels, fc_out_channels=256)
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_roi_extractor=dict(out_channels=channels, roi_layer=dict(sampling_ratio=2)),
        mask_head=dict(num_convs=2, in_channels=channels, conv_out_channels=channels)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=64)),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)))
