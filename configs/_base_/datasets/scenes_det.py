# The embedded scenes as detection and instance segmentation (5 classes): docs/prepare_data.md#scenes
_base_ = './coco_instance.py'
data_root = 'data/scenes/'
image_size = (192, 192)
# cait_mm.datasets.scenes.THING_CLASSES and their colours in PALETTE
metainfo = dict(
    classes=('tree', 'house', 'car', 'boat', 'balloon'),
    palette=[(20, 115, 55), (215, 95, 60), (245, 205, 40), (235, 235, 245), (200, 50, 160)])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='instances_training.json',
        data_prefix=dict(img='images/training/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        metainfo=metainfo,
        data_root=data_root,
        ann_file='instances_validation.json',
        data_prefix=dict(img='images/validation/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'instances_validation.json', format_only=False)
test_evaluator = val_evaluator
