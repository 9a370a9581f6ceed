"""MMEngine's Runner, for people who make mistakes in configs and train on CPUs."""
from typing import Any, Dict, Optional

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm
from torch.utils.data import DataLoader

from cait_mm.datasets.loading import guard
from cait_mm.utils.configs import building, without_parameter_lines


class CheckedRunner(Runner):
    """A Runner that builds with a sentence where the config is wrong; a bug while it runs keeps its traceback.

    On CPUs, where SyncBN does not exist, several processes normalise on their own. The hundreds of lines that MMEngine
    logs about the parameters' options are left out.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'CheckedRunner':
        with building('the run', cfg):
            return super().from_cfg(cfg)

    def build_model(self, model: Any) -> nn.Module:
        with building('the model', self.cfg):
            return super().build_model(model)

    def wrap_model(self, model_wrapper_cfg: Optional[Dict], model: nn.Module) -> nn.Module:
        if self.distributed and get_device() == 'cpu':
            model = self._without_sync_bn(model)
        return super().wrap_model(model_wrapper_cfg, model)

    @staticmethod
    def build_dataloader(*arguments: Any, **keywords: Any) -> DataLoader:
        loader = Runner.build_dataloader(*arguments, **keywords)
        guard(loader.dataset)
        return loader

    def build_train_loop(self, loop: Any) -> Any:
        with building('the training loop', self.cfg):
            return super().build_train_loop(loop)

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

    def _without_sync_bn(self, model: nn.Module) -> nn.Module:
        layers = sum(isinstance(module, SyncBatchNorm) for module in model.modules())
        if layers or self.cfg.get('sync_bn'):
            self.logger.warning('SyncBN needs accelerators: on CPUs it is BN, so every process normalises its own part '
                                'of a batch.')
        self.cfg.sync_bn = None
        return revert_sync_batchnorm(model)
