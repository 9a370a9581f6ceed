# Polyps (one foreground class) at 352x352, in PraNet's folders: docs/prepare_data.md#polyp
# CASCADE takes three steps per batch, with all pictures at 256, 352 and 448. Here a picture gets one random size
# between 264 and 440 and is cropped or padded to 352: one step per batch. Flips are an option there, off by default.
# Scores are plain Dice and IoU of the pictures. CASCADE's test_polyp.py stretches probabilities and smooths:
# val_evaluator.protocol=cascade test_evaluator.protocol=cascade (docs/tasks.md#recipes-and-where-they-differ).
dataset_type = 'cait_mm.datasets.polyp.PolypDataset'
data_root = 'data/polyp'
img_size = (352, 352)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=img_size, keep_ratio=False),
    dict(type='RandomResize', scale=img_size, ratio_range=(0.75, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=img_size),
    dict(type='RandomFlip', prob=[0.25, 0.25], direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs')
]
# the labels come after Resize: scores are taken at the picture's own size
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=img_size, keep_ratio=False),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='TrainDataset/images', seg_map_path='TrainDataset/masks'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='TestDataset/Kvasir/images', seg_map_path='TestDataset/Kvasir/masks'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='ImageDice', measures=('dice', 'iou'))
test_evaluator = val_evaluator
