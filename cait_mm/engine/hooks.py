"""Small guards of a training run: the same random numbers after a resume, finite numbers, the right classes."""
import numbers
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import Runner, set_random_seed

from cait_mm.engine.run import unwrapped
from cait_mm.errors import UserError


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed all generators before every epoch from the run's seed, the epoch and the rank.

    A resumed run then draws the same numbers as an uninterrupted one. Loaders need
    ``worker_init_fn=dict(type='keep_torch_seed')``, because MMEngine's function gives a worker the same seed in every
    epoch. Both serve MMEngine's own Runner: :class:`~cait_mm.engine.runner.CheckedRunner` seeds every step and sample.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        set_random_seed((runner.seed or 0) + 1_000_003 * runner.epoch + 7919 * get_rank())


@FUNCTIONS.register_module()
def keep_torch_seed(worker_id: int) -> None:
    """A ``worker_init_fn`` that keeps the seeds that PyTorch derives for a worker from the main process."""


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop a run whose loss or weights are no longer finite, before such weights are written."""

    priority = 'HIGH'

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Check the losses.

        Raises:
            UserError: One is NaN or infinite.
        """
        for name, value in (outputs or {}).items():
            value = torch.as_tensor(value) if isinstance(value, (torch.Tensor, numbers.Number)) else None
            if 'loss' in name and value is not None and not torch.isfinite(value).all():
                raise UserError(f'{name} became {float(value.float().mean())} at iteration {runner.iter + 1}; '
                                f'{_last_checkpoint(runner)}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights before they are written.

        Raises:
            UserError: One is NaN or infinite.
        """
        for name, value in checkpoint['state_dict'].items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise UserError(f'weight {name} is not finite after iteration {runner.iter}, so no checkpoint was '
                                f'written; {_last_checkpoint(runner)}')


def _last_checkpoint(runner: Runner) -> str:
    last = runner.message_hub.get_info('last_ckpt', None)
    kept = f'the last good checkpoint is {last}' if last else 'no checkpoint was written yet'
    return f'{kept}. Lower the learning rate, clip gradients (optim_wrapper.clip_grad), or train without --amp.'


@HOOKS.register_module()
class NumClassesHook(Hook):
    """Refuse data whose classes are not the model's, or not the same in training and validation."""

    def before_train(self, runner: Runner) -> None:
        _check(runner, runner.train_loop.dataloader.dataset)
        if runner.val_loop is not None:
            train, val = (_classes(loop.dataloader.dataset) for loop in (runner.train_loop, runner.val_loop))
            if len(train) == len(val) and train != val and not all(name.isdigit() for name in (*train, *val)):
                raise UserError('the class folders of training and validation have different names.')

    def before_val(self, runner: Runner) -> None:
        _check(runner, runner.val_loop.dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        _check(runner, runner.test_loop.dataloader.dataset)


def _classes(dataset: Any) -> list:
    return (getattr(dataset, 'metainfo', None) or {}).get('classes', [])


def _check(runner: Runner, dataset: Any) -> None:
    have, wanted = len(_classes(dataset)), getattr(unwrapped(runner), 'num_classes', None)
    if wanted is None or not have or have == wanted:
        return
    if have < wanted and getattr(dataset, 'ann_file', ''):
        return  # a list file names no classes, and may lack images of the last ones
    raise UserError(f'the data have {have} classes and the model {wanted}: set model.num_classes={have} (and '
                    'model.data_preprocessor.mixup.num_classes), or point the loaders at the right folder.')
