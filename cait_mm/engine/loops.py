"""MMEngine's training loops, made to give the same result whether a run is interrupted or not."""
from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from mmengine.dist import broadcast, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, set_random_seed
from torch.utils.data import DataLoader, Dataset

from cait_mm.datasets.samplers import SeededBatchSampler, endless
from cait_mm.engine.resume import POSITION
from cait_mm.utils.seeding import STEPS, seed_of

VALIDATED = 'last_validated_iter'
"""Entry of the message hub: the iteration of the last complete validation. MMEngine logs ``val...`` as metrics."""


class _SeededSteps:
    """Common to both loops: a seed for every step, and a repeat of the validation that a kill cut off."""

    runner: Runner

    def run_iter(self, *batch: Any) -> None:
        """Train on a batch; random numbers, as of dropout, depend on the run's seed, the iteration and the rank.

        The batch is loaded by now, so loading in this process (``num_workers=0``) does not move the generators.
        """
        set_random_seed(seed_of(STEPS, self.runner.seed or 0, self._iter, get_rank()))
        super().run_iter(*batch)

    def _is_due(self, done: int, total: int) -> bool:
        return (self.runner.val_loop is not None and done >= self.val_begin
                and (done % self.val_interval == 0 or done == total))

    def _validate(self) -> None:
        """Score the checkpointed model, which has the first process's running statistics, in every process."""
        if get_world_size() > 1:
            for buffer in filter(torch.is_floating_point, self.runner.model.buffers()):
                broadcast(buffer)
        self.runner.val_loop.run()

    def _validate_again(self, done: int, total: int) -> None:
        """Validate before training continues, if the run was stopped before its validation was complete."""
        if not self._iter:
            return
        self._decide_current_val_interval()
        if self._is_due(done, total) and self.runner.message_hub.get_info(VALIDATED, None) != self._iter:
            self.runner.logger.info(f'The validation of iteration {self._iter} was not finished: it comes first.')
            self._validate()


class _NotStarted:
    """In place of a loader whose processes should not start yet."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Any:
        return iter(())


@LOOPS.register_module()
class SeededIterLoop(_SeededSteps, IterBasedTrainLoop):
    """MMEngine's ``IterBasedTrainLoop``, resumed bit for bit and without loading past batches.

    The arguments are those of MMEngine's loop.
    """

    def __init__(self, runner: Runner, dataloader: Any, **settings: Any) -> None:
        if not isinstance(dataloader, DataLoader):
            dataloader = runner.build_dataloader(
                dataloader, seed=runner.seed, diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False))
        # MMEngine would start to load the first batches here, before it is known where the run is
        super().__init__(runner, _NotStarted(dataloader.dataset), **settings)
        self.dataloader = dataloader

    def run(self) -> torch.nn.Module:
        """Train as MMEngine's ``run``; a resumed run first validates if that is due and finds its place."""
        self.runner.call_hook('before_train')
        self._validate_again(self._iter, self._max_iters)
        self.runner.call_hook('before_train_epoch')
        self.dataloader_iterator = endless(self.dataloader, self._iter)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            if self._is_due(self._iter, self._max_iters):
                self._validate()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model


@LOOPS.register_module()
class SeededEpochLoop(_SeededSteps, EpochBasedTrainLoop):
    """MMEngine's ``EpochBasedTrainLoop``, resumed bit for bit, also from the middle of an epoch.

    The arguments are those of MMEngine's loop.
    """

    epoch_began = 0
    """The iteration at which the current epoch began."""

    def batches_done(self, meta: Mapping[str, Any] | None = None) -> int:
        """Batches of the epoch that are done now, or were done when a checkpoint with this ``meta`` was written."""
        if meta is None:
            return self._iter - self.epoch_began
        return meta['iter'] - self.epoch_began if meta['epoch'] == self._epoch else 0

    def run(self) -> torch.nn.Module:
        """Train as MMEngine's ``run``; a resumed run first validates if that is due."""
        self.runner.call_hook('before_train')
        if not self.batches_done():
            self._validate_again(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self._is_due(self._epoch, self._max_epochs):
                self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train on the epoch's batches, or in a resumed run on those that are left."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self.batches_done()
        if isinstance(self.dataloader.batch_sampler, SeededBatchSampler):
            self.dataloader.batch_sampler.start_at(self._epoch, done)
            batches = iter(self.dataloader)
        else:
            batches = islice(self.dataloader, done, None)
        for index, batch in enumerate(batches, done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self.epoch_began = self._iter


class PositionHook(Hook):
    """Add to every checkpoint the state that a resumed run needs and MMEngine leaves out.

    This is the position in the epoch, the data that it refers to, and gradients that wait for more accumulation steps:
    a dict for each process, by the names of parameters. The message hub gets the iteration of the last complete
    validation. A checkpoint to resume from is checked before the other hooks read their parts of it.
    """

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        runner.message_hub.update_info(VALIDATED, runner.iter)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner.resumed_from is not None:
            runner.check_resumed(checkpoint)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        loop = runner.train_loop
        done = loop.batches_done(checkpoint['meta']) if isinstance(loop, SeededEpochLoop) else 0
        checkpoint[POSITION] = dict(batches_done=done, **data_of(loop.dataloader))
        if 'optimizer' in checkpoint and runner.waiting_gradients:
            checkpoint[POSITION]['gradients'] = runner.waiting_gradients


def data_of(loader: DataLoader) -> dict[str, int]:
    """The units in which a position in the data counts."""
    return dict(batch_size=getattr(loader.batch_sampler, 'batch_size', None) or 1, processes=get_world_size(),
                images=len(loader.dataset))


_LOOPS = {key: loop for by_epoch, parent, loop in ((False, IterBasedTrainLoop, SeededIterLoop),
                                                   (True, EpochBasedTrainLoop, SeededEpochLoop))
          for key in (by_epoch, parent, parent.__name__, f'mmengine.{parent.__name__}')}
"""The replacements of MMEngine's loops, by ``by_epoch`` and by every form of ``type``."""


def seeded_loop(loop: Mapping[str, Any]) -> Mapping[str, Any]:
    """A training loop's config with a loop of this module instead of MMEngine's; other loops stay as they are."""
    replacement = _LOOPS.get(loop.get('type', loop.get('by_epoch')))
    if replacement is None or ('type' in loop and 'by_epoch' in loop):
        return loop
    return {**{key: value for key, value in loop.items() if key != 'by_epoch'}, 'type': replacement}
