# UperNet on a Swin: the four stages go to the head as they are, as in the recipes of Swin's authors and MMSegmentation.
# An experiment sets backbone.arch, the in_channels of the heads, and num_classes.
_base_ = './upernet_deit.py'
embed_dim = 96
model = dict(
    backbone=dict(_delete_=True, type='CAITSwin', drop_path_rate=0.3),
    neck=None,
    decode_head=dict(in_channels=[embed_dim, 2 * embed_dim, 4 * embed_dim, 8 * embed_dim]),
    auxiliary_head=dict(in_channels=4 * embed_dim))
