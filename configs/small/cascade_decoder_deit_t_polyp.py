# Dense DeiT-Tiny + a narrow CASCADE decoder on CVC-ClinicDB split by sequence, small enough for two CPU cores: 224x224,
# batch 8, 12 epochs (204 iterations on 129 frames) at 3e-4. docs/prepare_data.md#polyp says how to make the split.
_base_ = ['../cascade_decoder_deit_s_polyp.py', '../_base_/backbones/deit_tiny.py']
embed_dim = 192
img_size = (224, 224)
model = dict(
    data_preprocessor=dict(size=img_size),
    backbone=dict(_base_.deit_tiny.dense, img_size=img_size),
    neck=dict(embed_dim=embed_dim),
    decode_head=dict(in_channels=[embed_dim] * 4, widths=[32, 64, 128, 192]))
data_root = 'data/cvc_clinicdb'
folders = dict(img_path='images', seg_map_path='masks')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=img_size, keep_ratio=False),
    dict(type='RandomResize', scale=img_size, ratio_range=(0.75, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=img_size),
    dict(type='RandomFlip', prob=[0.25, 0.25], direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=img_size, keep_ratio=False),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        data_prefix=folders,
        ann_file='split_by_sequence.txt',
        split='train',
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        data_prefix=folders,
        ann_file='split_by_sequence.txt',
        split='val',
        pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=12, val_interval=12)
default_hooks = dict(logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size=8)
