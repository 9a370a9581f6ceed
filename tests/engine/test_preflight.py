"""Mistakes that would stop a run later are reported before it starts; a rehearsal leaves nothing behind."""
import math
import random

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from torch import nn

from cait_mm.config.load import load_config
from cait_mm.datasets.scenes import make_scenes
from cait_mm.engine.preflight import config_problems, lone_norms, refuse, rehearse
from cait_mm.engine.recipe import set_total_batch
from cait_mm.engine.start import require_weights
from cait_mm.errors import UserError

SEG = """
_base_ = '{root}/configs/small/upernet_atme_deit_scenes.py'
norm_cfg = dict(_delete_=True, type='GN', num_groups=2)
img_size = (64, 64)
model = dict(
    data_preprocessor=dict(size=img_size),
    backbone=dict(arch=dict(embed_dim=16, depth=4, num_heads=2, img_size=img_size), img_size=img_size, init_cfg=None,
                  merge=((1, 'horizontal'), (2, 'vertical')), out_indices=(0, 1, 2, 3)),
    neck=dict(embed_dim=16, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[16] * 4, channels=8, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=16, channels=8, norm_cfg=norm_cfg))
data = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}', serialize_data=False))
train_dataloader = dict(**data)
val_dataloader = dict(**data)
test_dataloader = val_dataloader
"""
CLS = """
_base_ = '{root}/configs/small/deit_scenes.py'
model = dict(
    backbone=dict(_delete_=True, type='CAITDeiT', arch=dict(embed_dim=24, depth=2, num_heads=3, img_size=(64, 64))),
    cdcp=None, distillation=None)
size = dict(dataset=dict(data_root='{data}/classification', transform=dict(input_size=64)))
train_dataloader = dict(batch_size=4, num_workers=0, **size)
val_dataloader = dict(num_workers=0, **size)
test_dataloader = val_dataloader
"""
DET = """
_base_ = '{root}/configs/small/mask_rcnn_deit_scenes.py'
data = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}', filter_cfg=dict(min_size=1)))
train_dataloader = dict(batch_size=2, **data)
val_dataloader = dict(**data)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/instances_validation.json')
test_evaluator = val_evaluator
model = dict(backbone=dict(init_cfg=None))
"""


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp('preflight')
    make_scenes(folder / 'scenes', train=12, val=8, size=(64, 64))
    for name, text in (('seg', SEG), ('cls', CLS), ('det', DET)):
        (folder / f'{name}.py').write_text(text.format(root=ROOT, data=folder / 'scenes'))
    return {name: str(folder / f'{name}.py') for name in ('seg', 'cls', 'det')}


def check(path, options=None, processes=1):
    """As tools/train.py --check-only."""
    config = load_config(path, options)
    require_weights(config)
    refuse(config_problems(config, training=True))
    set_total_batch(config, None, processes)
    rehearse(config, processes)


@pytest.mark.parametrize('name', ['seg', 'cls', 'det'])
def test_a_good_config_is_ready(paths, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(paths[name])
    assert not list(tmp_path.iterdir())


def named(*classes):
    """These classes, palette included, in all loaders."""
    palette = [(0, 0, 0)] * len(classes)
    return {f'{split}_dataloader.dataset.metainfo': dict(_delete_=True, classes=classes, palette=palette)
            for split in ('train', 'val', 'test')}


BN = {'model.decode_head.norm_cfg': dict(type='BN', _delete_=True), 'train_dataloader.batch_size': 1}
WRONG = [
    ('seg', BN, r'batch_size is 1, and decode_head\.psp_modules\.0 normalises a single value'),
    ('seg', {**BN, 'train_dataloader.batch_size': 11, 'train_dataloader.sampler.type': 'DefaultSampler'},
     'the last batch of 12 pictures has 1'),
    ('seg', {'default_hooks.checkpoint.save_best': 'mIou'}, "save_best='mIou' is no metric"),
    ('seg', {'train_dataloader.dataset.img_suffix': '.tif'}, r'no file .* ends in "\.tif" .12 in "\.jpg"'),
    ('seg', {'val_dataloader.dataset.seg_map_suffix': '.tif'}, r'val_dataloader: no file .*8 in "\.png"'),
    ('seg', {'val_dataloader.dataset.metainfo': dict(classes=tuple('abcdefghij'))},
     'train_dataloader and val_dataloader have different classes .10 and 10'),
    ('seg', {'model.decode_head.num_classes': 5}, 'decode_head.num_classes is 5 and the data have 10'),
    ('seg', {'load_from': 'none.pth'}, 'none.pth does not exist.*load_from=FILE'),
    ('seg', {'train_dataloader.dataset.pipeline': [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]},
     'the first batch of train_dataloader .* cannot be used: AttributeError'),
    ('seg', {'val_dataloader.dataset.pipeline': [dict(type='LoadImageFromFile')]},
     'the first picture of val_dataloader'),
    ('seg', {'train_dataloader.drop_last': True, 'train_dataloader.batch_size': 13,
             'train_dataloader.sampler.type': 'DefaultSampler'}, 'has 12 pictures, fewer than a batch of 13'),
    ('cls', {'train_dataloader.batch_size': 14}, 'nothing would be trained'),
    ('cls', {'train_dataloader.batch_size': 5, 'model.data_preprocessor': dict(
        _delete_=True, type='MixupPreprocessor', mixup=dict(num_classes=8))}, 'mixup needs even batches'),
    ('det', {'val_evaluator.ann_file': 'data/scenes/instances_validation.json'},
     r'val_evaluator\.ann_file is data/scenes.* and val_dataloader reads'),
    ('det', {**named('bird', 'wolf'), 'train_dataloader.dataset.filter_cfg': dict(filter_empty_gt=True)},
     'no picture is left in the dataset of train_dataloader'),
    ('det', {**named('bird', 'wolf'), 'train_dataloader.dataset.filter_cfg': None},
     'train_dataloader: no category of its annotation file has the name of a class'),
    ('det', named('tree', 'wolf'), 'train_dataloader: 1 of its 2 classes are categories'),
    ('det', {'train_dataloader.dataset.metainfo': dict(classes=('tree', 'car'))},
     'train_dataloader and val_dataloader have different classes'),
    ('det', {'train_dataloader.drop_last': True, 'train_dataloader.batch_size': 13,
             'train_dataloader.batch_sampler': None}, 'nothing would be trained'),
    ('det', {'default_hooks.checkpoint.save_best': 'coco/mAP'}, 'no metric'),
]


@pytest.mark.parametrize('name,options,message', WRONG)
def test_mistakes_are_errors(paths, name, options, message):
    with pytest.raises(UserError, match=message):
        check(paths[name], options)


def test_processes_share_an_epoch(paths):
    check(paths['cls'], {'train_dataloader.batch_size': 6}, processes=2)
    with pytest.raises(UserError, match='6 pictures for each process, fewer than a batch of 8'):
        check(paths['cls'], {'train_dataloader.batch_size': 8}, processes=2)


def test_norms_behind_pooling_are_those_that_fail_on_one_picture():
    def net(*layers):
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(*layers))

    pool, conv, norm = nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    for layers, lone in (((pool, conv, norm), True), ((conv, norm, pool), False),
                         ((nn.AdaptiveAvgPool2d(2), norm), False),
                         ((pool, nn.Sequential(conv, norm)), True), ((pool, nn.GroupNorm(2, 4)), False)):
        model = net(*layers)
        assert bool(lone_norms(model)) == lone
        try:
            model(torch.rand(1, 3, 8, 8))
            fails = False
        except ValueError:
            fails = True
        assert fails == lone


VALUES = [None, -1, 0, 1, 2.5, math.nan, math.inf, -math.inf, 'x', '', True, [], {}, [1, 'a'], {'type': 'NoSuch'},
          10**12]
KEYS = [
    'model', 'model.type', 'model.backbone', 'model.backbone.type', 'model.backbone.merge', 'model.decode_head',
    'model.decode_head.channels', 'model.decode_head.num_classes', 'model.data_preprocessor', 'train_cfg',
    'train_cfg.type', 'train_cfg.max_iters', 'train_cfg.val_interval', 'val_cfg', 'train_dataloader',
    'train_dataloader.batch_size', 'train_dataloader.num_workers', 'train_dataloader.sampler',
    'train_dataloader.sampler.type', 'train_dataloader.dataset', 'train_dataloader.dataset.type',
    'train_dataloader.dataset.pipeline', 'train_dataloader.dataset.metainfo', 'train_dataloader.dataset.data_prefix',
    'val_dataloader', 'val_dataloader.dataset.data_root', 'val_evaluator', 'val_evaluator.type',
    'val_evaluator.iou_metrics', 'optim_wrapper', 'optim_wrapper.optimizer', 'optim_wrapper.optimizer.lr',
    'optim_wrapper.optimizer.betas', 'optim_wrapper.clip_grad', 'optim_wrapper.accumulative_counts', 'param_scheduler',
    'param_scheduler.0', 'param_scheduler.0.end', 'default_hooks', 'default_hooks.checkpoint',
    'default_hooks.checkpoint.interval', 'default_hooks.checkpoint.save_best', 'default_hooks.logger', 'custom_hooks',
    'custom_hooks.0', 'visualizer', 'env_cfg', 'log_level', 'log_processor', 'load_from', 'resume', 'randomness',
    'randomness.seed', 'auto_scale_lr', 'default_scope', 'work_dir', 'custom_imports', 'launcher',
]


@pytest.mark.parametrize('seed', range(8))
def test_any_mutation_is_ready_or_a_sentence(paths, seed):
    """A dozen mutations a seed; every other kind of exception is a failure."""
    generator = random.Random(seed)
    for _ in range(12):
        options = {generator.choice(KEYS): generator.choice(VALUES)}
        try:
            config: Config = load_config(paths['seg'], options)
            if any(config.get(part) is None for part in ('model', 'train_cfg', 'train_dataloader', 'optim_wrapper')):
                continue  # read_run_config names them
            check(paths['seg'], options)
        except UserError as error:
            assert str(error).strip(), options
        except Exception as error:
            pytest.fail(f'{options}: {type(error).__name__}: {error}')
