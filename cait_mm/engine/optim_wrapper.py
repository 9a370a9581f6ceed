"""Optimizer wrappers with room for Eq. 2: a rule on gradients, after their synchronisation and before clipping."""
from collections.abc import Callable
from typing import Any

from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from cait_mm.errors import UserError
from cait_mm.ops.compactor import Compactor
from cait_mm.utils.schema import is_number, is_share


@OPTIM_WRAPPERS.register_module()
class GradRuleOptimWrapper(OptimWrapper):
    """MMEngine's wrapper that calls ``grad_rule()`` before it clips and steps.

    DDP has averaged the gradients by then, and accumulated steps are complete. Without a rule it is MMEngine's.
    """

    grad_rule: Callable[[], None] | None = None

    def step(self, **kwargs: Any) -> None:
        if self.grad_rule is not None:
            self.grad_rule()
        super().step(**kwargs)


@OPTIM_WRAPPERS.register_module()
class GradRuleAmpOptimWrapper(AmpOptimWrapper):
    """The same in mixed precision: gradients are unscaled first, once, because a rule adds terms of true size."""

    grad_rule: Callable[[], None] | None = None

    def step(self, **kwargs: Any) -> None:
        if self.grad_rule is None:
            super().step(**kwargs)
            return
        self.loss_scaler.unscale_(self.optimizer)
        self.grad_rule()
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._scale_update_param)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class CompactorConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's parameter groups, with compactors in a group of their own: beta1 0.99, no weight decay (ResRep).

    ``paramwise_cfg`` may hold ``compactor_beta1`` and ``compactor_lr_mult`` (1) beside MMEngine's options.

    Raises:
        UserError: One of the two is impossible.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        beta1, factor = (self.paramwise_cfg.get(name, 0.99) for name in ('compactor_beta1', 'compactor_lr_mult'))
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
            group['betas'] = (self.paramwise_cfg.get('compactor_beta1', 0.99), beta2)
        if self.base_lr is not None:
            group['lr'] = self.base_lr * self.paramwise_cfg.get('compactor_lr_mult', 1.)
        params.append(group)
