# ACDC (4 classes, background included) at 224x224: docs/prepare_data.md#acdc
# Training reads slices, evaluation volumes, slice by slice; MMSeg's loading reads both through slice:// addresses.
# Augmentation is TransUNet's, which CASCADE uses: half the time turned by up to 20 degrees, else half the time by
# quarters and flipped; resized without keeping the ratio.
dataset_type = 'cait_mm.datasets.volumes.ACDCVolumes'
data_root = 'data/acdc'
img_size = (224, 224)
meta_keys = ('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
             'flip_direction', 'reduce_zero_label', 'volume', 'slice')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomRotFlip', rotate_prob=0.5, flip_prob=0.5, degree=20),
    dict(type='Resize', scale=img_size, keep_ratio=False, interpolation='bicubic'),
    dict(type='PackSegInputs', meta_keys=meta_keys)
]
# the labels come after Resize: scores are taken at the slices' own size
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=img_size, keep_ratio=False, interpolation='bicubic'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs', meta_keys=meta_keys)
]
train_dataloader = dict(
    batch_size=12,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, data_prefix=dict(img_path='train_slices'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='test_volumes'),
        volumes=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='VolumeDice', measures=('dice', 'hd95'))
test_evaluator = val_evaluator
