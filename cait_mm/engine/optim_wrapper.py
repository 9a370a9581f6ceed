"""Optimizers for models with compactors, in configs."""
from typing import Any

from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from cait_mm.errors import UserError
from cait_mm.ops.compactor import Compactor
from cait_mm.pruning.groups import BETA1
from cait_mm.utils.schema import is_number, is_share

# Names in older configs: CDCP works by the optimizer's own hooks, under MMEngine's wrappers.
OPTIM_WRAPPERS.register_module('GradRuleOptimWrapper', module=OptimWrapper)
OPTIM_WRAPPERS.register_module('GradRuleAmpOptimWrapper', module=AmpOptimWrapper)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class CompactorConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's parameter groups, with compactors in a group of their own: beta1 0.99, no weight decay (ResRep).

    ``paramwise_cfg`` may hold ``compactor_beta1`` and ``compactor_lr_mult`` (1) in addition to MMEngine's options.

    Raises:
        UserError: One of the two is impossible.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        beta1, factor = (self.paramwise_cfg.get(name, BETA1) for name in ('compactor_beta1', 'compactor_lr_mult'))
        if not is_share(beta1) or not is_number(factor) or factor <= 0:
            raise UserError(f'paramwise_cfg has compactor_beta1={beta1!r} and compactor_lr_mult={factor!r}: the first '
                            'is from 0 to below 1, the second positive.')

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: Any = None) -> None:
        if not isinstance(module, Compactor):
            super().add_params(params, module, prefix, is_dcn_module)
            return
        if any(module.columns is parameter for group in params for parameter in group['params']):
            return  # weight and bias of a layer share their compactor
        beta2 = self.optimizer_cfg.get('betas', (0.9, 0.999))[1]
        group = {'params': [module.columns], 'weight_decay': 0.}
        if 'betas' in self.optimizer_cfg or 'Adam' in str(self.optimizer_cfg['type']):
            beta1 = self.paramwise_cfg.get('compactor_beta1', BETA1)
            group['betas'] = (beta1, max(beta1, beta2))  # see cait_mm/pruning/groups.py
        if self.base_lr is not None:
            group['lr'] = self.base_lr * self.paramwise_cfg.get('compactor_lr_mult', 1.)
        params.append(group)
