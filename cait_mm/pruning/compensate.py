"""Let the channels that stay stand in for the ones that were cut (after CORP, arXiv 2602.05243).

A cut channel is predictable from the others: ridge regression gives ``h_cut = B h_kept + c`` over the calibration
images, and the next linear layer absorbs it, ``W_kept + W_cut B`` and ``bias + W_cut c``. The model does not grow.
It serves an FFN's hidden channels, before ``fc2``, and the values, before the output projection. Queries and keys need
none: the singular basis of :mod:`~cait_mm.pruning.calibrate` already makes their cut the best of its rank.
"""
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cait_mm.models import Backbone
from cait_mm.pruning.selection import BlockChannels

RIDGE = 1e-2
"""Added to the diagonal of the kept channels' covariance, as a share of its mean."""


@dataclass(frozen=True)
class Moments:
    """First and second moments of a layer's input over the calibration images, in double precision.

    Args:
        mean: (channels,).
        second: (channels, channels), the mean of ``h h^T``.
    """

    mean: Tensor
    second: Tensor

    def turned(self, change: Tensor) -> 'Moments':
        """The moments of ``change @ h``."""
        return Moments(change @ self.mean, change @ self.second @ change.T)


class Sums:
    """Streams rows into :class:`Moments`."""

    def __init__(self) -> None:
        self.count, self.total, self.products = 0, 0., 0.

    def add(self, rows: Tensor) -> None:
        """Rows (n, channels) of any precision."""
        rows = rows.detach().double()
        self.count += len(rows)
        self.total = self.total + rows.sum(0)
        self.products = self.products + rows.T @ rows

    def moments(self) -> Moments:
        return Moments(self.total / self.count, self.products / self.count)


def predict_cut(moments: Moments, kept: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Ridge regression from the kept channels to the cut ones.

    Args:
        moments: Of all channels.
        kept: (channels,), True for channels that stay.
        ridge: See :data:`RIDGE`; infinite predicts the means.

    Returns:
        ``B`` (cut, kept) and ``c`` (cut,) of ``h_cut = B h_kept + c``.
    """
    mean, cut = moments.mean, ~kept
    if math.isinf(ridge):
        return mean.new_zeros(int(cut.sum()), int(kept.sum())), mean[cut]
    covariance = moments.second - torch.outer(mean, mean)
    among, across = covariance[kept][:, kept], covariance[kept][:, cut]
    scale = among.diagonal().mean().clamp_min(torch.finfo(among.dtype).tiny)
    factor = torch.linalg.cholesky(among + ridge * scale * torch.eye(len(among)).to(among))
    weights = torch.cholesky_solve(across, factor).T
    return weights, mean[cut] - weights @ mean[kept]


@torch.no_grad()
def absorb(layer: nn.Linear, weight: Tensor, moments: Moments, kept: Tensor, ridge: float = RIDGE) -> None:
    """Let a folded ``layer`` absorb the prediction of its cut inputs, in place.

    Args:
        layer: The layer after the fold; its inputs are, head by head, the kept channels and zeros that pad them.
        weight: (outputs, heads * channels), its weight before the fold.
        moments, ridge: As in :func:`predict_cut`.
        kept: (heads, channels), True for channels that stay; one row where there are no heads.
    """
    if bool(kept.all()):
        return
    places = padded_places(kept, layer.in_features // len(kept))
    kept = kept.flatten()
    weights, offset = predict_cut(moments, kept, ridge)
    lost = weight[:, ~kept].to(weights)
    layer.weight[:, places] += (lost @ weights).to(layer.weight)
    if layer.bias is not None:
        layer.bias += (lost @ offset).to(layer.bias)


def padded_places(kept: Tensor, width: int) -> Tensor:
    """Where kept channels stand after every head was padded to ``width``: (heads, channels), bool -> (kept,)."""
    counts: Sequence[int] = kept.sum(1).tolist()
    return torch.cat([torch.arange(count) + head * width for head, count in enumerate(counts)])


def compensate(small: Backbone, full: Backbone, cut: Iterable[BlockChannels], hidden: Iterable[Moments],
               values: Iterable[Moments], ridge: float = RIDGE) -> None:
    """Let every block of a folded backbone stand in for its cut channels, in place.

    Args:
        small: The folded backbone.
        full: The one that was folded, in the basis of ``values``.
        cut: The masks that the fold cut by (:func:`~cait_mm.pruning.fold.removable`).
        hidden, values: Moments of the inputs of ``fc2`` and of the output projection, one per block.
        ridge: See :data:`RIDGE`.
    """
    for ours, block, stays, ffn, attention in zip(small.flat_blocks(), full.flat_blocks(), cut, hidden, values):
        absorb(ours.mlp.fc2, block.mlp.fc2.weight, ffn, stays.ffn[None], ridge)
        absorb(ours.attn.proj, block.attn.proj.weight, attention, stays.v, ridge)
