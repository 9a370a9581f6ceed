"""Changes to a training recipe by options of the command line: precision, length, batch."""
import logging

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from cait_mm.classification.cdcp_settings import CDCPSettings
from cait_mm.errors import UserError


def use_amp(config: Config, dtype: str = 'float16') -> None:
    """Switch the config to mixed precision in ``dtype``.

    Raises:
        UserError: There is no accelerator, or the optimizer wrapper is not one of MMEngine's two.
    """
    if get_device() == 'cpu':
        raise UserError('--amp needs an accelerator: leave it out on a CPU.')
    wrapper = config.optim_wrapper
    kind = OPTIM_WRAPPERS.get(wrapper.type) if isinstance(wrapper.type, str) else wrapper.type
    if kind not in (OptimWrapper, AmpOptimWrapper):
        raise UserError(f'--amp cannot change optim_wrapper type {wrapper.type}: set it in the config.')
    wrapper.type = 'AmpOptimWrapper'
    wrapper.dtype = dtype
    wrapper.setdefault('loss_scale', 'dynamic')


def set_epochs(config: Config, epochs: int) -> None:
    """Make a recipe that counts epochs longer or shorter; its schedulers and the start of CDCP's ramp are scaled along.

    Raises:
        UserError: The config counts iterations.
    """
    old = config.train_cfg.get('max_epochs')
    if not old or epochs < 1:
        raise UserError(f'--epochs {epochs} does not fit: it is a positive number, for configs that count epochs; '
                        'others take --cfg-options train_cfg.max_iters=N.')
    config.train_cfg.max_epochs = epochs
    schedulers = [scheduler for scheduler in config.get('param_scheduler') or [] if scheduler.get('by_epoch', True)]
    for scheduler in schedulers:
        for key in ('begin', 'end', 'T_max'):
            if scheduler.get(key):
                scheduler[key] = max(min(1, epochs - 1), round(scheduler[key] * epochs / old))
    # A run of one epoch has no room for a warm-up of whole epochs.
    empty = [scheduler for scheduler in schedulers if 'end' in scheduler and scheduler.get('begin', 0) >= scheduler.end]
    if empty:
        config.param_scheduler = [scheduler for scheduler in config.param_scheduler if scheduler not in empty]
    cdcp = config.model.get('cdcp')
    if cdcp:
        cdcp.start_epoch = cdcp.get('start_epoch', CDCPSettings.start_epoch) * epochs / old


def set_total_batch(config: Config, total: int | None, processes: int) -> None:
    """Divide ``total`` over the processes and accumulated steps, or warn if the recipe is for another total.

    Raises:
        UserError: ``total`` does not divide evenly.
    """
    accumulated = config.optim_wrapper.get('accumulative_counts', 1)
    loader = config.train_dataloader
    if total is not None:
        if total < 1 or total % (processes * accumulated):
            raise UserError(f'--total-batch-size {total} does not divide into {processes} processes x {accumulated} '
                            'accumulated steps.')
        loader.batch_size = total // (processes * accumulated)
    have = loader.batch_size * processes * accumulated
    want = config.get('auto_scale_lr', {}).get('base_batch_size')
    if want and have != want and not config.auto_scale_lr.get('enable'):
        print_log(
            f'The total batch is {have} ({loader.batch_size} x {processes} processes x {accumulated} accumulated), '
            f'the recipe\'s learning rate belongs to {want}. Use --total-batch-size {want} to keep it, or '
            '--cfg-options auto_scale_lr.enable=True to scale the learning rate.',
            logger='current', level=logging.WARNING)
