# COCO's people at 352x240 for two CPU cores: a part of it, its annotation files of the same names. A hundred pictures
# hold enough of one class alone.
_base_ = './coco_instance.py'
metainfo = dict(classes=('person', ))
scale = (352, 240)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(metainfo=metainfo, pipeline=train_pipeline))
val_dataloader = dict(num_workers=2, dataset=dict(metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = dict(num_workers=2, dataset=dict(metainfo=metainfo, pipeline=test_pipeline))
