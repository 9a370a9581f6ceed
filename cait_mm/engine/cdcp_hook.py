"""CDCP inside MMEngine's Runner."""
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from cait_mm.classification.cdcp_settings import PREFIX
from cait_mm.engine.run import unwrapped
from cait_mm.errors import UserError, parameters_called
from cait_mm.pruning.cdcp import CDCP
from cait_mm.pruning.training_checkpoint import TRAINING_META, training_meta
from cait_mm.utils.images import load_batches, spread

STATE = 'cdcp'
"""Where a checkpoint holds the state of the pruner."""


@HOOKS.register_module()
class CDCPHook(Hook):
    """Attach :class:`~cait_mm.pruning.cdcp.CDCP` to a classifier's optimizer.

    The settings are those in the model's config (``model.cdcp``); without them the hook does nothing. Scalars go to the
    visualizer under ``cdcp/`` whenever masks are rebuilt.
    """

    def __init__(self) -> None:
        self.cdcp: CDCP | None = None
        self._resumed: dict[str, Any] | None = None

    def before_train(self, runner: Runner) -> None:
        """Calibrate if the settings ask for it, check that masked channels can vanish, and attach to the optimizer.

        Raises:
            UserError: The run's set-up cannot work with CDCP.
        """
        model = unwrapped(runner)
        settings = getattr(model, 'cdcp', None)
        if settings is None:
            return
        _require_plain_training(runner)
        loop, wrapper = runner.train_loop, runner.optim_wrapper
        calibrated = settings.start == 'calibrated' and runner.iter == 0
        per_epoch, accumulated = len(loop.dataloader), wrapper._accumulative_counts
        with parameters_called(PREFIX, ramp_start='start_epoch'):
            self.cdcp = CDCP(model, total_steps=per_epoch * loop.max_epochs, accumulation=accumulated,
                             ramp_start=round(settings.start_epoch * per_epoch),
                             images=_images(runner, settings.calibration_images) if calibrated else None,
                             num_images=settings.calibration_images, **settings.of_the_method())
            if calibrated:
                for tensor in model.state_dict().values():
                    broadcast(tensor)
            if runner.iter > 0:
                done = runner.iter - runner.iter % accumulated  # for a checkpoint without the pruner's state
                self.cdcp.load_state_dict(self._resumed or {'steps': done})
            message = self.cdcp.attach(wrapper.optimizer, own_group=False, log=lambda scalars: _log(runner, scalars))
        if message:
            print_log(f'CDCP: {message}.', logger='current', level=logging.INFO)
        clip_after_the_rule(wrapper)

    def after_train(self, runner: Runner) -> None:
        if self.cdcp is not None:
            self.cdcp.detach()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the classifier's description, so that tools/fold.py needs no config, and the pruner's state."""
        model = unwrapped(runner)
        if not hasattr(model, 'cdcp'):
            return
        settings = dataclasses.asdict(model.cdcp) if model.cdcp else None
        checkpoint['meta'][TRAINING_META] = training_meta(model.backbone, settings)
        if self.cdcp is not None:
            checkpoint[STATE] = self.cdcp.state_dict()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._resumed = checkpoint.get(STATE)


def _images(runner: Runner, count: int) -> Iterator[Tensor]:
    """Batches of ``count`` training images, spread over the classes.

    Raises:
        UserError: The dataset does not say where its images are.
    """
    dataset = runner.train_loop.dataloader.dataset
    if not hasattr(dataset, 'samples'):
        raise UserError('`start=calibrated` reads its images from a dataset with samples, such as ImageFolder; use '
                        '`start=identity` with another one.')
    paths = spread([path for path, _ in dataset.samples], count)
    print_log(f'CDCP: channels are ordered by their contribution to {len(paths)} training images.',
              logger='current', level=logging.INFO)
    return load_batches(paths, unwrapped(runner).backbone.spec.arch.img_size[0])


def _log(runner: Runner, scalars: dict[str, float]) -> None:
    runner.visualizer.add_scalars({f'cdcp/{name}': value for name, value in scalars.items()}, step=runner.iter)
    for name in ('reduction', 'masked_norm', 'flips'):
        runner.message_hub.update_scalar(f'train/{name}', scalars[name])


def clip_after_the_rule(wrapper: OptimWrapper) -> None:
    """Make ``clip_grad`` clip the gradients that the rule returns, in a step hook that runs after the rule's."""
    if wrapper.clip_grad_kwargs:
        clip, wrapper._clip_grad = wrapper._clip_grad, lambda: None  # the wrapper unscales and calls it too early
        wrapper.optimizer.register_step_pre_hook(lambda *_: clip())


def _require_plain_training(runner: Runner) -> None:
    strategy = getattr(runner, 'strategy', None)
    wrapped = is_model_wrapper(runner.model) and not isinstance(runner.model, MMDistributedDataParallel)
    if strategy is not None or wrapped:
        name = type(strategy or runner.model).__name__
        raise UserError(f'CDCP needs whole weights and gradients in every process, which {name} splits: train with '
                        'DDP (tools/dist_train.sh).')
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        raise UserError(f'CDCP needs one optimizer for the whole model, not {type(runner.optim_wrapper).__name__}: use '
                        'optim_wrapper.type=OptimWrapper (or AmpOptimWrapper).')
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        raise UserError('CDCP counts its schedule in epochs: use train_cfg=dict(by_epoch=True, max_epochs=...).')
