"""Checks before the first step, for mistakes that would stop a run after minutes or days.

:func:`config_problems` looks at the config alone, :func:`run_problems` at the parts that a Runner has built anyway.
:class:`Rehearsal` serves ``--check-only``: it does everything that a run does, up to the loss of the first pictures.
"""
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm
from torch.utils.data import DataLoader

from cait_mm.classification.mixup import ODD
from cait_mm.datasets.agreement import dataset_problems, loader_problems
from cait_mm.datasets.check_files import LOADERS
from cait_mm.datasets.heads import head_problems
from cait_mm.engine.metrics import metric_problems
from cait_mm.engine.run import build_runner, unwrapped
from cait_mm.engine.runner import CheckedRunner
from cait_mm.errors import UserError, reason_of

PICTURES = 2
"""The number of pictures of the first batch for which a rehearsal computes the loss."""


def refuse(problems: Sequence[str]) -> None:
    """Raise a UserError that lists ``problems``, one per line, if there are any."""
    if problems:
        raise UserError('\n'.join(problems))


def config_problems(config: Config, training: bool) -> list[str]:
    """The mismatches in a config whose data are there, a sentence for each."""
    loaders = LOADERS if training else ('test_dataloader', )
    return [*(metric_problems(config) if training else ()), *loader_problems(config, loaders)]


def run_problems(runner: CheckedRunner, processes: int | None = None) -> list[str]:
    """The mismatches between the parts that a Runner builds for training, a sentence for each.

    Args:
        runner: The Runner; its loops are built unless they are there.
        processes: The number of processes of the run, if it is not the Runner's own.
    """
    processes = processes or runner.world_size
    datasets = {}
    for name in ('train', 'val'):
        with _empty_named(runner, f'{name}_dataloader'):
            loop = getattr(runner, f'{name}_loop')
        if loop is not None:
            datasets[f'{name}_dataloader'] = loop.dataloader.dataset
    problems = [problem for name, dataset in datasets.items() for problem in dataset_problems(name, dataset)]
    if problems:
        return problems
    classes = (getattr(datasets['train_dataloader'], 'metainfo', None) or {}).get('classes')
    return [*_batches(runner, processes), *(head_problems(runner.cfg.model, classes) if classes else ())]


@contextmanager
def _empty_named(runner: CheckedRunner, name: str) -> Iterator[None]:
    """Build a loop in this context: MMEngine fails on the items of an empty dataset without naming it."""
    try:
        yield
    except UserError as error:
        if 'at least one array' not in str(error):
            raise
        raise UserError(f'no picture is left in the dataset of {name}: look at its folders, its filter_cfg and its '
                        'classes (metainfo); python tools/check_data.py says more.') from error


def _batches(runner: CheckedRunner, processes: int) -> Iterator[str]:
    """Sentences about epochs without a batch, and about batches that a layer or mixup cannot take."""
    loader, model = runner.cfg.train_dataloader, unwrapped(runner)
    size, whole = loader.get('batch_size', 1), loader.get('drop_last', False)
    samples = _samples(runner.train_loop.dataloader)
    share = samples if runner.world_size == processes else math.ceil(samples / processes)
    endless = 'Infinite' in str((loader.get('sampler') or {}).get('type', ''))
    if whole and not endless and share < size:
        yield (f'train_dataloader has {share} pictures{" for each process" * (processes > 1)}, fewer than a batch of '
               f'{size}, and drop_last=True: nothing would be trained. Lower train_dataloader.batch_size or set '
               'drop_last=False.')
        return
    last = share % size if not endless and not whole else 0
    norms = [] if _synchronised(runner, processes) else lone_norms(model)
    if norms and 1 in (size, last):
        what = 'train_dataloader.batch_size is 1' if size == 1 else f'the last batch of {share} pictures has 1'
        yield (f'{what}{" for each process" * (processes > 1)}, and {norms[0]} normalises a single value per channel '
               'there, which BatchNorm cannot in training: use a batch size of 2 or more (and drop_last=True), or '
               'another norm_cfg.')
    mixes = getattr(getattr(model, 'data_preprocessor', None), 'mixup', None) is not None
    if mixes and (size % 2 or last % 2):
        yield ODD.format(size if size % 2 else last)


def _samples(loader: DataLoader) -> int:
    """The number of pictures that an epoch takes from ``loader`` in this process."""
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    return len(sampler) if hasattr(sampler, '__len__') else len(loader.dataset)


def _synchronised(runner: CheckedRunner, processes: int) -> bool:
    """Whether several processes will share the statistics of their batches; a check does not start them."""
    wanted = runner.cfg.get('sync_bn') or 'SyncBN' in repr(runner.cfg.model)
    return processes > 1 and runner.world_size == 1 and get_device() != 'cpu' and bool(wanted)


def lone_norms(model: nn.Module) -> list[str]:
    """The names of BatchNorms that see one value per channel of each picture in training, after pooling to 1x1.

    UperNet's pyramid at scale 1 and ASPP's image pooling have one. A norm that is synchronised over processes is fine.
    """
    model.train()
    names = []
    for name, module in model.named_modules():
        pooled = False
        for child in module if isinstance(module, nn.Sequential) else ():
            pooled = pooled or isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1), [1, 1])
            norms = [inner for inner in child.modules() if isinstance(inner, _BatchNorm)]
            if pooled and any(norm.training and not isinstance(norm, SyncBatchNorm) for norm in norms):
                names.append(name)
                break
    return names


class Rehearsal(CheckedRunner):
    """A Runner whose training ends before the first step, with the loss of the first pictures."""

    def build_train_loop(self, loop: Any) -> Any:
        loop = super().build_train_loop(loop)
        loop.run = self._rehearse
        return loop

    def _rehearse(self) -> nn.Module:
        """Call the hooks, and take the first batch of training and the first picture of validation.

        Raises:
            UserError: Something cannot work; the message names it.
        """
        self.model.train()
        self.call_hook('before_train')
        losses = self._losses(_first_items(self.train_loop.dataloader))
        for name, value in losses.items():
            if not math.isfinite(value):
                raise UserError(f'{name} of the first pictures is {value}: look at their labels and at the weights.')
        if self.val_loop is not None:
            with _first('picture of val_dataloader', self):
                loader = self.val_loop.dataloader
                self.model.data_preprocessor(loader.collate_fn(_first_items(loader)[:1]), False)
        return self.model

    @torch.no_grad()
    def _losses(self, items: Sequence[Any]) -> dict[str, float]:
        collate = self.train_loop.dataloader.collate_fn
        with _first('batch of train_dataloader', self):
            self.model.data_preprocessor(collate(items), True)
            data = self.model.data_preprocessor(collate(items[:PICTURES]), True)
            _, losses = self.model.parse_losses(self.model._run_forward(data, mode='loss'))
        return {name: float(value) for name, value in losses.items() if 'loss' in name}


def rehearse(config: Config, processes: int = 1) -> None:
    """Do everything that a run of ``config`` does before its first step, in a folder that is removed afterwards.

    Raises:
        UserError: Something cannot work; the message names it.
    """
    # MMEngine writes the config four times, and formatting it takes seconds
    config = Config(config.to_dict(), filename=config.filename, format_python_code=False)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        config.work_dir, config.log_level = folder, 'ERROR'
        runner = build_runner(config, Rehearsal)
        refuse(run_problems(runner, processes))
        runner.train()


def _first_items(loader: DataLoader) -> list[Any]:
    """The samples of the first batch of ``loader``, read in this process."""
    return [loader.dataset[index] for index in next(iter(loader.batch_sampler))]


@contextmanager
def _first(what: str, runner: CheckedRunner) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a pipeline or a model may raise anything
        raise UserError(f'the first {what} of config {runner.cfg.filename} cannot be used: {type(error).__name__}, '
                        f'{reason_of(error)}. CAIT_DEBUG=1 shows where.') from error
