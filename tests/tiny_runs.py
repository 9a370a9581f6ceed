"""Small runs of every kind on synthetic pictures, in this process: whole, stopped, and resumed."""
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from conftest import FAMILIES, ROOT
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image

from cait_mm.config.load import load_config
from cait_mm.datasets.scenes import make_scenes
from cait_mm.engine.loader import load_file
from cait_mm.engine.run import build_runner
from cait_mm.engine.runner import CheckedRunner
from cait_mm.engine.start import resume_from
from cait_mm.tasks import build_model
from cait_mm.utils.files import atomic_path

DEIT = dict(FAMILIES['deit']['arch'], depth=4)
BACKBONE = f"""dict(
    arch=dict(_delete_=True, **{DEIT}), img_size=(64, 64), out_indices=(0, 1, 2, 3), drop_path_rate=0.2,
    merge=((1, 'horizontal'), (2, 'vertical')))"""
AUGMENTED = """[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(64, 64), ratio_range=(1., 2.), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64)), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]"""
SEGMENTOR = f"""
_base_ = '{ROOT}/configs/small/upernet_atme_deit_scenes.py'
norm_cfg = dict(_delete_=True, type='BN')
model = dict(
    data_preprocessor=dict(size=(64, 64)), backbone={BACKBONE}, neck=dict(embed_dim=24, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[24] * 4, channels=8, norm_cfg=norm_cfg, dropout_ratio=0.5),
    auxiliary_head=dict(in_channels=24, channels=8, norm_cfg=norm_cfg, dropout_ratio=0.5))
model['backbone']['init_cfg'] = None
train_dataloader = dict(batch_size=3, dataset=dict(data_root='DATA/scenes', pipeline={AUGMENTED}))
val_dataloader = dict(dataset=dict(data_root='DATA/scenes'))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(type='PolyLR', eta_min=0., power=1.0, begin=0, end=7, by_epoch=False)]
train_cfg = dict(max_iters=7, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=2), logger=dict(interval=1))
"""
DETECTOR = f"""
_base_ = '{ROOT}/configs/small/mask_rcnn_deit_scenes.py'
model = dict(
    backbone={BACKBONE},
    neck=dict(_delete_=True, type='TokenPyramid', embed_dim=24, rescales=(4, 2, 1, 0.5)),
    rpn_head=dict(in_channels=24, feat_channels=24, anchor_generator=dict(strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=24), mask_roi_extractor=dict(out_channels=24),
        bbox_head=dict(in_channels=24, fc_out_channels=16, num_classes=5),
        mask_head=dict(num_convs=1, in_channels=24, conv_out_channels=16, num_classes=5)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=16), rcnn=dict(sampler=dict(num=16))))
model['backbone']['init_cfg'] = None
_scenes = dict(data_root='DATA/scenes/', metainfo=dict(classes=('tree', 'house', 'car', 'boat', 'balloon')))
train_dataloader = dict(batch_size=3, dataset=dict(
    ann_file='instances_training.json', data_prefix=dict(img='images/training/'), filter_cfg=dict(min_size=1),
    **_scenes))
val_dataloader = dict(dataset=dict(
    ann_file='instances_validation.json', data_prefix=dict(img='images/validation/'), **_scenes))
val_evaluator = dict(ann_file='DATA/scenes/instances_validation.json')
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[1], gamma=0.5)]
train_cfg = dict(max_epochs=2, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1), logger=dict(interval=1))
"""
MEDICAL = f"""
_base_ = '{ROOT}/configs/small/cascade_decoder_deit_t_polyp.py'
img_size = (64, 64)
norm_cfg = dict(type='BN')
model = dict(
    data_preprocessor=dict(size=img_size), backbone=dict(
        arch=dict(_delete_=True, **{DEIT}), img_size=img_size, out_indices=(0, 1, 2, 3), drop_path_rate=0.2,
        init_cfg=None),
    neck=dict(embed_dim=24, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[24] * 4, widths=[8, 8, 8, 8], norm_cfg=norm_cfg))
_all = dict(data_root='DATA/polyps', ann_file='', split=None)
train_dataloader = dict(batch_size=3, dataset=dict(
    data_prefix=dict(img_path='train/images', seg_map_path='train/masks'), pipeline={AUGMENTED}, **_all))
val_dataloader = dict(dataset=dict(data_prefix=dict(img_path='val/images', seg_map_path='val/masks'), **_all))
train_cfg = dict(max_epochs=3, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2), logger=dict(interval=1))
"""
CLASSIFIER = f"""
_base_ = '{ROOT}/configs/small/deit_scenes.py'
model = dict(
    num_classes=8, backbone=dict(arch=dict(_delete_=True, **{DEIT}), drop_path_rate=0.2),
    data_preprocessor=dict(mixup=dict(_delete_=True, mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=8)))
train_dataloader = dict(batch_size=4, dataset=dict(
    data_root='DATA/scenes/classification', transform=dict(input_size=64, re_prob=0.25)))
val_dataloader = dict(batch_size=4, dataset=dict(
    data_root='DATA/scenes/classification', transform=dict(input_size=64)))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, end=3, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=3, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2, save_best='top1'), logger=dict(interval=1))
custom_hooks = [dict(type='FiniteHook'), dict(type='EMAHook', momentum=0.2)]
"""
KINDS = dict(segmentor=SEGMENTOR, detector=DETECTOR, medical=MEDICAL, classifier=CLASSIFIER)


class Stopped(BaseException):
    """Stands for a kill in these runs; no tool catches it."""


@HOOKS.register_module()
class StopAt(Hook):
    """Stop after an iteration, after its checkpoint, or before that of a validation's end."""

    priority = 'LOWEST'

    def __init__(self, iteration: int = -1, validation: int = -1, save: bool = False) -> None:
        self.iteration, self.validation, self.save = iteration, validation, save

    def after_train_iter(self, runner: Any, **_: Any) -> None:
        if runner.iter + 1 == self.iteration:
            if self.save:
                next(hook for hook in runner.hooks if hasattr(hook, 'save_now')).save_now(runner)
            raise Stopped

    def before_val(self, runner: Any) -> None:
        if runner.iter == self.validation:
            raise Stopped


def make_data(folder: Path) -> Path:
    """Scenes in three layouts and polyps, 64 x 64 pixels."""
    make_scenes(folder / 'scenes', train=12, val=8, size=(64, 64))
    chance = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 2)):
        for kind in ('images', 'masks'):
            (folder / 'polyps' / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((64, 64), np.uint8)
            mask[8 + 3 * index:40, 10:50 - 2 * index] = 255
            picture = chance.integers(0, 120, (64, 64, 3), np.uint8) + (mask[..., None] // 2)
            Image.fromarray(picture).save(folder / 'polyps' / split / 'images' / f'{split}{index}.png')
            Image.fromarray(mask).save(folder / 'polyps' / split / 'masks' / f'{split}{index}.png')
    return folder


def trained(data: Path, folder: Path, kind: str, classes: int = 2) -> tuple[Path, Path]:
    """The config of a dense model, and a checkpoint of it whose weights are all random, with names of classes."""
    config, checkpoint = folder / f'{kind}.py', folder / f'{kind}.pth'
    dense = 'model["backbone"]["merge"] = ()\nmodel["backbone"]["restore_mode"] = "nearest"\n'
    config.write_text(KINDS[kind].replace('DATA', str(data)) + dense)
    model = build_model(load_config(str(config)))
    for parameter in model.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    meta = dict(classes=tuple('abcdefghij'[:classes]), palette=np.arange(1, 3 * classes + 1).reshape(-1, 3).tolist())
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': meta}}, checkpoint)
    return config, checkpoint


def run(data: Path, kind: str, work_dir: Path, workers: int = 0, resume: str | None = None,
        stop: dict | None = None, **options: Any) -> CheckedRunner:
    """Train; with ``stop``, :class:`StopAt`'s arguments, the run ends early as if it was killed."""
    path = data / f'{kind}.py'
    with atomic_path(path) as temporary:  # processes of one run read it
        temporary.write_text(KINDS[kind].replace('DATA', str(data)))
    loaders = {f'{split}_dataloader.{key}': value for split in ('train', 'val')
               for key, value in (('num_workers', workers), ('persistent_workers', workers > 0))}
    config = load_config(str(path), {**loaders, **options})
    config.work_dir = str(work_dir)
    config.visualizer = dict(type='Visualizer', vis_backends=[])
    config.log_level = 'ERROR'
    config.default_hooks.pop('visualization', None)
    config.custom_hooks = [*config.custom_hooks, *([dict(type='StopAt', **stop)] if stop else [])]
    if resume:
        resume_from(config, resume)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with patch.object(Config, 'pretty_text', 'the config'):  # to format it takes longer than these runs
        runner = build_runner(config)
        _train(runner)
    torch.set_num_threads(threads)
    return runner


def _train(runner: CheckedRunner) -> None:
    try:
        runner.train()
    except Stopped:
        pass
    finally:
        for loop in (runner._train_loop, runner._val_loop):  # a killed run's workers end with it
            iterator = getattr(getattr(loop, 'dataloader', None), '_iterator', None)
            if iterator is not None:
                iterator._shutdown_workers()


def load(path: Path) -> dict:
    return load_file(path)


def differing(wanted: Any, actual: Any, name: str = '') -> list:
    """Names of tensors and numbers in nested dicts and lists that are not equal bit for bit."""
    if isinstance(wanted, torch.Tensor):
        return [] if torch.equal(wanted, actual) else [name]
    if isinstance(wanted, dict):
        if wanted.keys() != actual.keys():
            return [f'{name}: {sorted(map(str, wanted.keys() ^ actual.keys()))}']
        return [item for key in wanted for item in differing(wanted[key], actual[key], f'{name}.{key}')]
    if isinstance(wanted, (list, tuple)):
        if len(wanted) != len(actual):
            return [name]
        return [item for index, pair in enumerate(zip(wanted, actual)) for item in differing(*pair, f'{name}.{index}')]
    return [] if wanted == actual else [name]
