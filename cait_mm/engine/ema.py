"""Averaged weights of a model that loses channels."""
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from torch import nn

from cait_mm.ops.compactor import Compactor


@MODELS.register_module()
class CompactorEMA(ExponentialMovingAverage):
    """MMEngine's exponential moving average, with masked columns copied from the model instead of averaged.

    An average keeps a share of a column long after the column has vanished, so a cut would change the averaged model.
    ``dict(type='EMAHook', ema_type='CompactorEMA', momentum=...)`` uses this class.
    """

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Average, then copy the masked columns."""
        super().update_parameters(model)
        for ours, theirs in zip(self.module.modules(), model.modules()):
            if isinstance(ours, Compactor):
                ours.columns.copy_(torch.where(theirs.mask[..., None], ours.columns, theirs.columns))
