"""Stopping a training on a signal, with a checkpoint that a resumed run continues from."""
from typing import Any

import torch
from mmengine.dist import all_gather_object, barrier, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from cait_mm.engine.checkpoint_hook import SafeCheckpointHook
from cait_mm.engine.loops import SeededEpochLoop, SeededIterLoop
from cait_mm.utils.signals import SIGNALS, Stopped

_KEY, _AHEAD = 'cait_mm/stop', 2


class StopHook(Hook):
    """After Ctrl-C, SIGTERM, SIGHUP or SIGUSR1, finish the iteration, save, say how to continue, and stop.

    The checkpoint is written after this iteration, also in the middle of an epoch, so a resumed run repeats nothing.
    All processes of a run stop after the same iteration or leave the same validation. :class:`CheckedRunner` adds this
    hook.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.saver: SafeCheckpointHook | None = None
        self.last: int | None = None

    def before_train(self, runner: Runner) -> None:
        SIGNALS.noting = True
        savers = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook) and hook.save_optimizer]
        exact = isinstance(runner.train_loop, (SeededEpochLoop, SeededIterLoop))
        self.saver = savers[0] if savers and exact else None

    def after_train(self, runner: Runner) -> None:
        SIGNALS.noting = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save and stop if a signal asked for it.

        Raises:
            Stopped: A signal did.
        """
        if self._is_last(runner):
            if self.saver is not None:
                self.saver.save_now(runner)
            self._stop(runner)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Leave a validation during training if a signal asked for it; a resumed run begins with the validation.

        Raises:
            Stopped: A signal did.
        """
        if not SIGNALS.noting or not self._leaves_validation(runner, batch_idx):
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                hook.after_val_epoch(runner)  # the model holds the averaged weights
        if self.saver is not None:
            self.saver.save_before_validation(runner)
        self._stop(runner)

    def _is_last(self, runner: Runner) -> bool:
        """Whether all processes stop after the current iteration.

        The process that a signal reaches first names an iteration far enough ahead for all others to read it in time:
        none is more than one synchronisation of gradients behind or ahead.
        """
        if get_world_size() == 1:
            return SIGNALS.received is not None
        ahead = _AHEAD * getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        self.last = self.last if self.last is not None else _told(runner.iter + ahead)
        return self.last is not None and runner.iter >= self.last

    def _leaves_validation(self, runner: Runner, batch_idx: int) -> bool:
        """Whether all processes leave the current validation. They leave it together, so none waits in the evaluator.

        Processes do not wait for each other within a validation. Each takes part in one exchange: with its last batch,
        or earlier if it hears of a signal.
        """
        if get_world_size() == 1:
            return SIGNALS.received is not None
        heard = _told(runner.iter) is not None
        if not heard and batch_idx + 1 < len(runner.val_loop.dataloader):
            return False
        numbers = [number for number in all_gather_object(SIGNALS.received if heard else None) if number is not None]
        SIGNALS.received = SIGNALS.received or next(iter(numbers), None)
        return bool(numbers)

    def _stop(self, runner: Runner) -> None:
        barrier()  # no process leaves before the checkpoint is there
        path = runner.message_hub.get_info('last_ckpt')
        if path is None:
            message = 'no checkpoint was written yet, so the same command starts again'
        elif self.saver is None:
            message = f'{path} is the last checkpoint: the same command with --resume continues from there'
        else:
            message = f'{path} holds the state of the run: the same command with --resume continues from there'
        raise Stopped(SIGNALS.received, message if runner.rank == 0 else '')


def _told(last: int) -> int | None:
    """The last iteration that a process of the group has named; this process names ``last`` if it has got a signal.

    From then on the signal counts as received in this process too.
    """
    store = torch.distributed.distributed_c10d._get_default_store()
    if SIGNALS.received is not None:
        store.compare_set(_KEY, '', f'{last} {int(SIGNALS.received)}')
    if not store.check([_KEY]):
        return None
    named, number = map(int, store.get(_KEY).split())
    SIGNALS.received = SIGNALS.received or number
    return named
