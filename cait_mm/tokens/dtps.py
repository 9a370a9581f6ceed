"""dTPS (Wei et al., CVPR 2023): DynamicViT's choice, and what it drops is squeezed into what it keeps.

Written from its description and code.
"""
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.arch.cost import Cost
from cait_mm.tokens.base import Tokens
from cait_mm.tokens.dropping import RESTORES, keep
from cait_mm.tokens.dynamicvit import DynamicViT, masked
from cait_mm.tokens.record import take, wide


@dataclass(frozen=True)
class dTPS(DynamicViT):  # the name in configs is the paper's
    """dTPS: DynamicViT, with every dropped token added to the most similar one that stays.

    Args:
        keep, at, ratio_weight: As in :class:`DynamicViT`.
        restore: Also ``unmerge``, which gives dropped patches the token that they were added to.

    Raises:
        UserError: A setting is impossible.
    """

    restores: ClassVar[tuple[str, ...]] = RESTORES

    def _cost(self, before: int, left: int, dim: int) -> Cost:
        return Cost((before - left) * left * dim, 0)

    def _dropped(self, tokens: Tokens, stay: Tensor, go: Tensor, parts: nn.ModuleDict) -> Tokens:
        patches = tokens.patches
        joined, nearest = absorb(take(patches, stay), take(patches, go))
        into = torch.zeros(patches.shape[:2], dtype=go.dtype, device=go.device).scatter(1, go, nearest)
        kept = keep(tokens, stay, self.restore, parts, into=into)
        return kept._replace(x=torch.cat([kept.x[:, :tokens.prefix], joined], dim=1))

    def _masked(self, tokens: Tokens, decided: Tensor, goes: Tensor, parts: nn.ModuleDict) -> Tokens:
        joined, nearest = absorb(tokens.patches, tokens.patches, decided, goes)
        own = torch.arange(nearest.shape[1], device=nearest.device)
        tokens = masked(tokens, decided, self.restore, parts, torch.where(goes[..., 0] > 0.5, nearest, own))
        return tokens._replace(x=torch.cat([tokens.x[:, :tokens.prefix], joined], dim=1))


def absorb(x: Tensor, y: Tensor, stays: Tensor | None = None, goes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """``x`` (B, K, C) with every token of ``y`` (B, M, C) added to the most similar of them, and which that is, (B, M).

    Means are weighted by exponentials of cosines, the token's own being 1.

    Args:
        x: The tokens that stay.
        y: The tokens that go.
        stays: (B, K, 1): which of ``x`` stay, if they are not all.
        goes: (B, M, 1): which of ``y`` go, if they are not all, with gradients.
    """
    cosine = F.normalize(y, dim=-1) @ F.normalize(x, dim=-1).transpose(1, 2)
    if stays is not None:
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        cosine = cosine.masked_fill((stays.transpose(1, 2) < 0.5) | itself, -100.)
    best, nearest = cosine.max(dim=-1, keepdim=True)
    weight = best.exp() if goes is None else (goes * best).exp() * goes
    total = torch.full_like(x[..., :1], math.e).scatter_add(1, nearest, weight)
    return (math.e * x).scatter_add(1, wide(nearest[..., 0], x), weight * y) / total, nearest[..., 0]
