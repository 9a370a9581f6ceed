# Mask R-CNN on a plain ViT in ViTDet's form: a simple pyramid of the last map alone, two convolutions in the RPN, a box
# head of four convolutions and one linear layer, LayerNorms over channels in all heads. Batches are padded to
# 1024x1024.
# Attention is global in every block. ViTDet's is in windows of 14x14 in 8 of 12 blocks: on ViT-B at 1024x1024 its
# attention takes 114.9 GMACs, global attention 309.2, which is 194.4 of the backbone's 660.2. Its tables of relative
# positions are not here either; official ViTDet checkpoints do not load.
# An experiment sets the backbone and neck.embed_dim.
_base_ = './mask_rcnn_deit.py'
image_size = (1024, 1024)
norm_cfg = dict(type='LN2d', eps=1e-6)
model = dict(
    data_preprocessor=dict(batch_augments=[dict(type='BatchFixedSizePad', size=image_size, pad_mask=True)]),
    backbone=dict(img_size=image_size, out_indices=(11, )),
    neck=dict(_delete_=True, type='SimplePyramid', embed_dim=768, out_channels=256, num_outs=5, norm_cfg=norm_cfg),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg)))
