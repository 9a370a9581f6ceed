# CASCADE's decoder on a Swin: the four stages go in as they are, at their own widths.
_base_ = './cascade_decoder_deit.py'
embed_dim = 96
model = dict(
    backbone=dict(_delete_=True, type='CAITSwin', drop_path_rate=0.1),
    neck=None,
    decode_head=dict(in_channels=[embed_dim, 2 * embed_dim, 4 * embed_dim, 8 * embed_dim], widths=None))
