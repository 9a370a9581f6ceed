"""How far a run is, for the screen of the command that started it."""
import os
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from cait_mm.config.screen import RELAY, At, Step


class ProgressHook(Hook):
    """Say after every iteration how far a training, or a test, is.

    Args:
        at: Called as ``at(done, total, unit, note)`` in the main process.
    """

    priority = 'LOWEST'

    def __init__(self, at: At) -> None:
        self.at = at if is_main_process() else lambda *_: None
        self.trained = 0

    def before_train(self, runner: Runner) -> None:
        self.trained = runner.iter
        self.at(self.trained, runner.max_iters, 'iterations')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.trained = runner.iter + 1
        self.at(self.trained, runner.max_iters, 'iterations')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        total = len(runner.val_dataloader)
        self.at(self.trained, runner.max_iters, 'iterations', f'validating {batch_idx + 1}/{total}')

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.at(batch_idx + 1, len(runner.test_dataloader), 'batches')


def tell_progress(runner: Runner) -> None:
    """Have a run write its progress for the command that started this process, if that asked for it."""
    if os.environ.get(RELAY):
        runner.register_hook(ProgressHook(Step('', relay=Path(os.environ[RELAY])).at))
