"""MMEngine's Runner with checks of the config, exact resuming, and training on CPUs."""
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import all_gather_object, get_rank, master_only
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper, revert_sync_batchnorm
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm
from torch.utils.data import DataLoader

from cait_mm.config.load import BUILD_ERRORS, building, without_parameter_lines
from cait_mm.datasets.build import check_coco_files
from cait_mm.datasets.loading import guard
from cait_mm.datasets.samplers import with_seeded_batches
from cait_mm.engine.checkpoint_hook import safe_checkpoints
from cait_mm.engine.console import shorten
from cait_mm.engine.loops import PositionHook, SeededEpochLoop, data_of, seeded_loop
from cait_mm.engine.resume import (
    POSITION,
    cannot_resume,
    require_fit,
    require_optimizer,
    require_same_run,
    require_schedulers,
    require_state,
    with_others,
)
from cait_mm.engine.stop import StopHook
from cait_mm.errors import UserError, reason_of
from cait_mm.utils.files import atomic_path, newest_checkpoint
from cait_mm.utils.signals import leave_stopping_to_parent


class CheckedRunner(Runner):
    """A Runner that turns a mistake in the config into a :class:`UserError`; a bug while it runs keeps its traceback.

    On CPUs, where SyncBN does not exist, every process normalises its own part of a batch. The hundreds of lines that
    MMEngine logs about options of parameters are left out, and the longest entries of its log are in the run's log file
    alone (:mod:`cait_mm.engine.console`).

    A run that was stopped and resumed gives the same bits as one that was not, with the same data, batch size, number
    of processes and threads, on the same machine: every training step is seeded by its number and every sample by its
    place in the run (:mod:`cait_mm.engine.loops`, :mod:`cait_mm.datasets.samplers`), for MMEngine's two training loops.
    A checkpoint without the whole state of a run is refused (:mod:`cait_mm.engine.resume`). A run that is asked to stop
    saves its state first (:class:`StopHook`).
    """

    waiting_gradients: list[dict[str, Tensor]] = []
    """Gradients of every process that wait for more accumulation steps, while a checkpoint is written."""

    resumed_from: str | None = None
    """The checkpoint that is being resumed from."""

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'CheckedRunner':
        check_coco_files()
        with building('the run', cfg):
            return super().from_cfg(cfg)

    def train(self) -> nn.Module:
        self.register_hook(StopHook())
        return super().train()

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        shorten(logger)
        return logger

    def build_model(self, model: Any) -> nn.Module:
        with building('the model', self.cfg):
            return super().build_model(model)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if self.distributed and get_device() == 'cpu':
            model = self._without_sync_bn(model)
        return super().wrap_model(model_wrapper_cfg, model)

    def build_train_loop(self, loop: Any) -> Any:
        with building('the training loop', self.cfg):
            return super().build_train_loop(seeded_loop(loop) if isinstance(loop, dict) else loop)

    @staticmethod
    def build_dataloader(dataloader: Any, seed: int | None = None, diff_rank_seed: bool = False) -> DataLoader:
        if isinstance(dataloader, Mapping):
            seed = (seed or 0) - (get_rank() if diff_rank_seed else 0)  # all processes share the order of the data
            dataloader = with_seeded_batches(dataloader, seed)
        loader = Runner.build_dataloader(dataloader, seed=seed)
        if loader is not dataloader:
            loader.worker_init_fn = partial(_start_worker, loader.worker_init_fn)
        guard(loader.dataset)
        return loader

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        super().register_hook(safe_checkpoints(hook), priority)

    def register_default_hooks(self, hooks: Any = None) -> None:
        super().register_default_hooks(hooks)
        self.register_hook(PositionHook())

    def build_val_loop(self, loop: Any) -> Any:
        with building('the validation loop', self.cfg):
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: Any) -> Any:
        with building('the test loop', self.cfg):
            return super().build_test_loop(loop)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        with building('the optim_wrapper', self.cfg), without_parameter_lines():
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        with building('the param_scheduler', self.cfg):
            return super().build_param_scheduler(scheduler)

    def dump_config(self) -> None:
        """Write the config into the work directory; a resumed run does it once its checkpoint is known to fit."""
        if not self._resume:
            self._write_config()

    @master_only
    def _write_config(self) -> None:
        name = Path(self.cfg.filename).name if self.cfg.filename else f'{self.timestamp}.py'
        with atomic_path(Path(self.work_dir, name)) as temporary:
            self.cfg.dump(temporary)

    def load_or_resume(self) -> None:
        asked = self._resume and not self._has_loaded
        if asked and self._load_from is None:  # MMEngine would follow the note to any place
            self._load_from = newest_checkpoint(self.work_dir)
            self._resume = self._load_from is not None
        super().load_or_resume()
        if asked:
            self._write_config()

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint. Call it in every process.

        ``meta['iter']`` counts complete iterations and ``meta['epoch']`` complete epochs. Between ``after_train_iter``
        and the next iteration MMEngine's ``runner.iter`` changes from the former count to this one.
        """
        wrapper, self.waiting_gradients = self.optim_wrapper, []
        if isinstance(wrapper, OptimWrapper) and not isinstance(wrapper, OptimWrapperDict) \
                and not wrapper.should_update() and wrapper._inner_count:
            self.waiting_gradients = all_gather_object({
                name: parameter.grad.cpu() for name, parameter in self._plain_model().named_parameters()
                if parameter.grad is not None})
        super().save_checkpoint(*args, **kwargs)
        self.waiting_gradients = []

    def resume(self, filename: str, resume_optimizer: bool = True, resume_param_scheduler: bool = True,
               map_location: Any = 'default') -> None:
        """Continue from a checkpoint that holds the whole state of a run of this config.

        Raises:
            UserError: Something is missing, damaged or of another run; the message names it, and nothing was written.
        """
        path = self.resumed_from = str(filename)
        try:
            if '://' in path:
                raise UserError(f'cannot resume from {path}: a run continues from a local file, so download it.')
            super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        except UserError as error:
            raise with_others(error, path) from error
        except (*BUILD_ERRORS, IndexError, RuntimeError) as error:
            raise with_others(cannot_resume(path, reason_of(error)), path) from error
        finally:
            self.resumed_from = None
        self._take_position(self._position)

    def check_resumed(self, content: Any) -> None:
        """Check the content of the checkpoint to resume from, before any of it is used.

        Raises:
            UserError: It does not hold the whole state of a run of this config.
        """
        require_state(content, self.resumed_from)
        self._seed_like(content['meta'].get('seed'))
        self._require_fit(content, self.resumed_from)
        self._position = content.get(POSITION, {})

    def _require_fit(self, content: Mapping[str, Any], path: str) -> None:
        loop = self.train_loop
        require_same_run(
            content, path, by_epoch=isinstance(loop, EpochBasedTrainLoop), warn=self.logger.warning,
            lengths=dict(max_iters=loop.max_iters, max_epochs=loop.max_epochs),
            classes=(getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes'),
            **data_of(loop.dataloader))
        averages = [hook.ema_model.state_dict() for hook in self.hooks if isinstance(hook, EMAHook)]
        require_fit(content, path, self._plain_model().state_dict(), averages[0] if averages else None)
        if isinstance(self.optim_wrapper, OptimWrapper) and not isinstance(self.optim_wrapper, OptimWrapperDict):
            require_optimizer(content, path, self.optim_wrapper.optimizer)
            scaled = 'loss_scaler' in self.optim_wrapper.state_dict()
            if scaled != ('loss_scaler' in content['optimizer']):
                raise cannot_resume(path, f'its run was {"not " if scaled else ""}in mixed precision and this one is'
                                          f'{"" if scaled else " not"} (--amp)')
        if self.param_schedulers:
            require_schedulers(content, path, self.param_schedulers)

    def _seed_like(self, seed: int | None) -> None:
        """Use the seed of the run that is resumed, also for the order of the data, which MMEngine has built by now."""
        current = self._randomness_cfg.get('seed')
        if seed is None or seed == current:
            return
        if current is not None:
            self.logger.warning(f'The run began with seed {seed}, which replaces randomness.seed={current}.')
        self._randomness_cfg.update(seed=seed)
        self.set_randomness(**self._randomness_cfg)
        self._train_loop = self.build_train_loop(self.cfg.train_cfg)

    def _take_position(self, position: Mapping[str, Any]) -> None:
        loop, gradients = self.train_loop, position.get('gradients')
        if isinstance(loop, SeededEpochLoop):
            loop.epoch_began = loop.iter - min(position.get('batches_done', 0), len(loop.dataloader))
        if gradients and len(gradients) == self.world_size:
            for name, parameter in self._plain_model().named_parameters():
                if name in gradients[self.rank]:
                    parameter.grad = gradients[self.rank][name].to(parameter)
            self.logger.info('The gradients that waited for more accumulation steps are restored.')

    def _plain_model(self) -> nn.Module:
        return self.model.module if is_model_wrapper(self.model) else self.model

    def _without_sync_bn(self, model: nn.Module) -> nn.Module:
        layers = sum(isinstance(module, SyncBatchNorm) for module in model.modules())
        if layers or self.cfg.get('sync_bn'):
            self.logger.warning('SyncBN needs accelerators: on CPUs it is BN, so every process normalises its own part '
                                'of a batch.')
        self.cfg.sync_bn = None
        return revert_sync_batchnorm(model)


def _start_worker(init: Callable[[int], None] | None, worker_id: int) -> None:
    leave_stopping_to_parent()
    if init is not None:
        init(worker_id)
