# ImageNet-1k at 224x224 with DeiT's augmentation, by timm: docs/prepare_data.md#imagenet
dataset_type = 'ImageFolder'
data_root = 'data/imagenet'
# DeiT's RandAugment but for mmax9: at strength 10 timm posterizes to 0 bits, which Pillow 13 refuses.
train_transform = dict(
    input_size=224,
    is_training=True,
    interpolation='bicubic',
    color_jitter=0.3,
    auto_augment='rand-m9-mstd0.5-mmax9-inc1',
    re_prob=0.25,
    re_mode='pixel')
test_transform = dict(input_size=224, interpolation='bicubic', crop_pct=224 / 256)
# Workers are started again every epoch with seeds of that epoch, so a resumed run sees the same images.
worker_init_fn = dict(type='keep_torch_seed')
collate_fn = dict(type='default_collate')
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    drop_last=True,
    worker_init_fn=worker_init_fn,
    collate_fn=collate_fn,
    sampler=dict(type='RepeatAugSampler', num_repeats=3),
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='train', transform=train_transform))
# where val/ has no class folders: val_dataloader.dataset.ann_file=meta/val.txt
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    worker_init_fn=worker_init_fn,
    collate_fn=collate_fn,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='val', transform=test_transform))
test_dataloader = val_dataloader
val_evaluator = dict(type='TopK', topk=(1, 5))
test_evaluator = val_evaluator
