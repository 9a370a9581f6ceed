# The embedded scenes as semantic segmentation (10 classes): docs/prepare_data.md#scenes
dataset_type = 'BaseSegDataset'
data_root = 'data/scenes'
# cait_mm.datasets.scenes.CLASSES and PALETTE
metainfo = dict(
    classes=('sky', 'mountain', 'grass', 'water', 'road', 'tree', 'house', 'car', 'boat', 'balloon'),
    palette=[[135, 190, 235], [140, 120, 150], [125, 200, 90], [40, 95, 200], [90, 90, 95], [20, 115, 55],
             [215, 95, 60], [245, 205, 40], [235, 235, 245], [200, 50, 160]])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
