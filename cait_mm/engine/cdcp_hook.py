"""CDCP inside MMEngine's Runner."""
import dataclasses
import logging
from typing import Any

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from cait_mm.engine.optim_wrapper import GradRuleAmpOptimWrapper, GradRuleOptimWrapper
from cait_mm.engine.run import unwrapped
from cait_mm.errors import UserError
from cait_mm.ops.compactor import compactor_of
from cait_mm.pruning.cdcp import CDCP
from cait_mm.pruning.export import TRAINING_META, training_meta
from cait_mm.utils.images import load_batches, spread


@HOOKS.register_module()
class CDCPHook(Hook):
    """Drive a classifier's CDCP: the calibrated start, masks, gradient rule and proximal step.

    All settings are the model's (``model.cdcp``); on a model without them the hook does nothing. Scalars go to the
    visualizer under ``cdcp/`` whenever masks are rebuilt.
    """

    def __init__(self) -> None:
        self.cdcp: CDCP | None = None

    def before_train(self, runner: Runner) -> None:
        """Calibrate where that is asked for, check that masked channels can vanish, install the gradient rule.

        Raises:
            UserError: The run's set-up cannot work with CDCP.
        """
        model = unwrapped(runner)
        settings = getattr(model, 'cdcp', None)
        if settings is None:
            return
        _require_plain_training(runner)
        if settings.start == 'calibrated' and runner.iter == 0:
            self._calibrate(runner, settings.calibration_images)
        loop = runner.train_loop
        per_epoch = len(loop.dataloader)
        self.cdcp = CDCP(model.backbone, settings, round(settings.start_epoch * per_epoch), per_epoch * loop.max_epochs,
                         runner.optim_wrapper._accumulative_counts)
        if runner.iter == 0:  # a resumed run has passed the check, and its columns have shrunk since
            group = _compactor_group(runner)
            message = self.cdcp.check_vanishing(group.get('initial_lr', group['lr']), group['betas'][1])
            print_log(f'CDCP: {message}.', logger='current', level=logging.INFO)
        runner.optim_wrapper.grad_rule = self.cdcp.apply_gradient_rule

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if self.cdcp is None:
            return
        found = self.cdcp.before_iteration(runner.iter)
        if found is None:
            return
        runner.visualizer.add_scalars({f'cdcp/{name}': value for name, value in found.items()}, step=runner.iter)
        for name in ('reduction', 'masked_norm', 'flips'):
            runner.message_hub.update_scalar(f'train/{name}', found[name])

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.cdcp is not None and runner.optim_wrapper.should_update():
            self.cdcp.after_step()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Describe the classifier, so that tools/fold.py needs no config."""
        model = unwrapped(runner)
        if not hasattr(model, 'cdcp'):
            return
        settings = dataclasses.asdict(model.cdcp) if model.cdcp else None
        checkpoint['meta'][TRAINING_META] = training_meta(model.backbone, settings)

    def _calibrate(self, runner: Runner, count: int) -> None:
        model, dataset = unwrapped(runner), runner.train_loop.dataloader.dataset
        if not hasattr(dataset, 'samples'):
            raise UserError('start=calibrated reads its images from a dataset with samples, such as ImageFolder; use '
                            'model.cdcp.start=identity with another one.')
        paths = spread([path for path, _ in dataset.samples], count)
        model.calibrate(load_batches(paths, model.backbone.spec.arch.img_size[0]))
        for tensor in model.state_dict().values():
            broadcast(tensor)
        print_log(f'CDCP: channels are ordered by what they contribute to {len(paths)} training images.',
                  logger='current', level=logging.INFO)


def _compactor_group(runner: Runner) -> dict:
    columns = compactor_of(unwrapped(runner).backbone.flat_blocks()[0].mlp.fc1).columns
    return next(group for group in runner.optim_wrapper.param_groups
                if any(parameter is columns for parameter in group['params']))


def _require_plain_training(runner: Runner) -> None:
    strategy = getattr(runner, 'strategy', None)
    wrapped = is_model_wrapper(runner.model) and not isinstance(runner.model, MMDistributedDataParallel)
    if strategy is not None or wrapped:
        name = type(strategy or runner.model).__name__
        raise UserError(f'CDCP needs whole weights and gradients in every process, which {name} splits: train with '
                        'DDP (tools/dist_train.sh).')
    if not isinstance(runner.optim_wrapper, (GradRuleOptimWrapper, GradRuleAmpOptimWrapper)):
        raise UserError(f'CDCP changes gradients between their synchronisation and the step, which '
                        f'{type(runner.optim_wrapper).__name__} has no room for: use '
                        'optim_wrapper.type=GradRuleOptimWrapper (or GradRuleAmpOptimWrapper).')
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        raise UserError('CDCP counts its schedule in epochs: use train_cfg=dict(by_epoch=True, max_epochs=...).')
