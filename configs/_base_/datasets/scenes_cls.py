# The embedded scenes as classification (8 kinds of scene): docs/prepare_data.md#scenes
dataset_type = 'ImageFolder'
data_root = 'data/scenes/classification'
img_size = 192
train_transform = dict(
    input_size=img_size, is_training=True, interpolation='bicubic', scale=(0.5, 1.0), color_jitter=0.3)
test_transform = dict(input_size=img_size, interpolation='bicubic', crop_pct=1.0)
worker_init_fn = dict(type='keep_torch_seed')
collate_fn = dict(type='default_collate')
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    drop_last=True,
    worker_init_fn=worker_init_fn,
    collate_fn=collate_fn,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='train', transform=train_transform))
val_dataloader = dict(
    batch_size=40,
    num_workers=2,
    worker_init_fn=worker_init_fn,
    collate_fn=collate_fn,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='val', transform=test_transform))
test_dataloader = val_dataloader
val_evaluator = dict(type='TopK', topk=(1, ))
test_evaluator = val_evaluator
