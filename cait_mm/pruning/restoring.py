"""Linear layers that bring restored maps nearer to dense ones (``restore_mode='residual_linear'``), without labels.

In the dense model blocks also act on a patch's difference from its merged token, which a restored map adds as it was.
What they make of it is regressed on it, for every output, over the calibration images.
"""
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from cait_mm.models import Backbone
from cait_mm.ops.token_merge import interpolation
from cait_mm.pruning.compensate import RIDGE, Sums


@torch.no_grad()
def fit_restores(small: Backbone, dense: Backbone, images: Iterable[Tensor], ridge: float = RIDGE) -> None:
    """Set the linear layers of ``small``, in place, by ridge regression from the differences that merges took to what
    the dense maps have beyond those of merged tokens.

    Args:
        small: Merged, in eval mode, with ``restore_mode='residual_linear'``.
        dense: The model it came from, with the same outputs.
        images: Batches (B, C, H, W), normalised as in training.
        ridge: Added to the diagonal of the differences' moments, as a share of its mean. The layer is drawn to the
            identity, which adds the differences as they are; infinite leaves it there.
    """
    if not small.restores or math.isinf(ridge):
        return
    like, mode = next(small.parameters()), interpolation(small.restore_mode)
    sums: dict[int, Sums] = {}
    for batch in images:
        batch = batch.to(like)
        for ours, full in zip(small.outputs(batch), dense.outputs(batch)):
            if ours.tokens.lost is None:
                continue
            lost = ours.tokens.lost
            wanted = full.tokens.spread() - ours.tokens.spread(mode) - lost
            rows = torch.cat([lost, wanted], dim=1).flatten(2).transpose(1, 2).flatten(0, 1)
            sums.setdefault(ours.number, Sums()).add(rows)
    for output, total in sums.items():
        layer = small.restores[str(output)]
        second, dim = total.moments().second, layer.in_features
        among, across = second[:dim, :dim], second[:dim, dim:]
        scale = among.diagonal().mean().clamp_min(torch.finfo(among.dtype).tiny)
        factor = torch.linalg.cholesky(among + ridge * scale * torch.eye(dim).to(among))
        layer.weight.copy_(torch.eye(dim).to(layer.weight) + torch.cholesky_solve(across, factor).T.to(layer.weight))
