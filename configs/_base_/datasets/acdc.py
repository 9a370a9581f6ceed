# ACDC (4 classes, background included) at 224x224: docs/prepare_data.md#acdc
# Training reads slices, evaluation volumes, slice by slice; MMSeg's loading reads both through slice:// addresses.
# Augmentation is TransUNet's, which CASCADE uses: half the slices are turned by quarters and flipped, half of the rest
# turned by up to 20 degrees; all are resized without keeping the ratio. MMSeg's RandomRotFlip would turn them too, but
# it interpolates the labels: between background 0 and left ventricle 3 it finds 1 and 2. CASCADE turns and zooms with
# SciPy, here OpenCV does, and its model learns three channels from one, here all three are the slice.
# Scores are strict and of logits resized first. TransUNet's and CASCADE's own choose labels at 224x224:
# model.type=cait_mm.evaluation.input_size.InputSizeSegmentor val_evaluator.empty=transunet
# test_evaluator.empty=transunet (docs/tasks.md#recipes-and-where-they-differ).
dataset_type = 'cait_mm.datasets.volumes.ACDCVolumes'
data_root = 'data/acdc'
img_size = (224, 224)
meta_keys = ('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip',
             'flip_direction', 'reduce_zero_label', 'volume', 'slice')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomChoice',
        transforms=[[dict(type='RandomRotFlip', rotate_prob=0., flip_prob=1.)],
                    [dict(type='RandomRotate', prob=0.5, degree=20., pad_val=0, seg_pad_val=0)]],
        prob=[0.5, 0.5]),
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
