"""DynamicViT (Rao et al., NeurIPS 2021) and dTPS (Wei et al., CVPR 2023): tokens dropped as a small network says.

In front of some blocks a predictor gives every token the probability that it stays. In use the most probable ones stay.
In training all tokens stay in place and a decision for each is drawn (Gumbel softmax, straight through): attention sees
only the tokens that stay, and every token itself, so that gradients reach the decisions. Written from the papers'
descriptions and their code.
"""
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost, layer_norm, linear
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid
from cait_mm.tokens.base import (
    BlockTokens,
    TokenReducer,
    Tokens,
    Weigh,
    checked_blocks,
    checked_choice,
    checked_share,
)
from cait_mm.tokens.dropping import MASK, RESTORES, keep, mask_cost, mask_parts
from cait_mm.tokens.record import behind_prefix, take, wide

EPS = 1e-6
"""Added to the attention of tokens that are masked, all together, as in the authors' code."""


class Predictor(nn.Module):
    """Tokens (B, N, C) -> logarithms of the probabilities to stay and to go, (B, N, 2).

    Half of the channels are a token's own, half the mean over all tokens that are left. Names are those of DynamicViT's
    checkpoints.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(),
                                      nn.Linear(dim // 4, 2))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                trunc_normal_(layer.weight, std=.02)
                nn.init.zeros_(layer.bias)
        self.share: Tensor | None = None
        """The share of all patches that stayed in the last forward pass in training, (B,)."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the share: it belongs to a graph, which cannot be copied."""
        return {**self.__dict__, 'share': None}

    def forward(self, x: Tensor, stays: Tensor) -> Tensor:
        """``stays`` (B, N, 1) is 1 for tokens that are left, 0 for others."""
        x = self.in_conv(x)
        own = x.shape[-1] // 2
        mean = (x[..., own:] * stays).sum(1, keepdim=True) / stays.sum(1, keepdim=True)
        return self.out_conv(torch.cat([x[..., :own], mean.expand(-1, x.shape[1], -1)], dim=-1)).log_softmax(-1)

    @staticmethod
    def cost(tokens: int, dim: int) -> Cost:
        layers = (linear(tokens, dim, dim), linear(tokens, dim, dim // 2), linear(tokens, dim // 2, dim // 4),
                  linear(tokens, dim // 4, 2))
        return sum(layers, layer_norm(tokens, dim))


@dataclass(frozen=True)
class DynamicViT(TokenReducer):
    """DynamicViT's dropping.

    Args:
        keep: The share of all patches that is left behind each of its blocks, or one number whose powers they are.
        at: The blocks in front of which tokens are dropped.
        restore: How maps get dropped tokens back: ``structured`` or ``unstructured`` (:mod:`cait_mm.tokens.record`).
        ratio_weight: The weight in the loss of the squared difference between ``keep`` and the share that stays.

    Raises:
        UserError: A setting is impossible.
    """

    restores: ClassVar[tuple[str, ...]] = RESTORES[:2]

    keep: float | tuple[float, ...] = 0.7
    at: tuple[int, ...] = (3, 6, 9)
    restore: str = 'structured'
    ratio_weight: float = 2.

    def __post_init__(self) -> None:
        object.__setattr__(self, 'at', checked_blocks('at', self.at))
        if isinstance(self.keep, Sequence) and not isinstance(self.keep, str):
            object.__setattr__(self, 'keep', tuple(checked_share('a share of keep', share) for share in self.keep))
            if len(self.keep) != len(self.at) or any(a < b for a, b in zip(self.keep, self.keep[1:])):
                raise UserError(f'keep={shown(self.keep)}: give one share for each of the {len(self.at)} blocks of at, '
                                'none above the one before it, or one number.')
        else:
            object.__setattr__(self, 'keep', checked_share('keep', self.keep))
        checked_choice('restore', self.restore, self.restores)
        if isinstance(self.ratio_weight, bool) or not isinstance(self.ratio_weight, Real) or not (
                0 <= self.ratio_weight < math.inf):
            raise UserError(f'ratio_weight={shown(self.ratio_weight)}: give a number of 0 or more.')

    def blocks(self, arch: Arch) -> Sequence[int]:
        return self.at

    def _share(self, block: int) -> float:
        stage = self.at.index(block)
        return self.keep[stage] if isinstance(self.keep, tuple) else self.keep ** (stage + 1)

    def _left(self, block: int, patches: int) -> int:
        """How many of all ``patches`` are left behind the dropping in front of ``block``."""
        return max(1, int(patches * self._share(block)))

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        left = patches = grid[0] * grid[1]
        for block in range(len(blocks)):
            cost = mask_cost(arch, self.restore, block)
            if block in self.at:
                before, left = left, self._left(block, patches)
                cost += Predictor.cost(before, arch.dim(block)) + self._cost(before, left, arch.dim(block))
            yield BlockTokens(left + prefix, left + prefix, cost)

    def _cost(self, before: int, left: int, dim: int) -> Cost:
        """What it costs to drop, apart from the predictor."""
        return Cost(0, 0)

    def parts(self, arch: Arch, depth: int, prefix: int) -> nn.ModuleDict:
        predictors = {str(block): Predictor(arch.dim(block)) for block in self.at if block < depth}
        return nn.ModuleDict({**predictors, **mask_parts(arch, self.restore)})

    def looks(self, block: int) -> bool:
        return block >= self.at[0]

    def weigh(self, block: int, tokens: Tokens) -> Weigh | None:
        if tokens.memory is None:
            return None
        return partial(masked_softmax, stays=F.pad(tokens.memory[..., 0], (tokens.prefix, 0), value=1.))

    def before(self, block: int, tokens: Tokens, parts: nn.ModuleDict) -> Tokens:
        if block not in self.at:
            return tokens
        predictor, patches = parts[str(block)], tokens.patches
        stays = patches.new_ones(*patches.shape[:2], 1) if tokens.memory is None else tokens.memory
        scores = predictor(patches, stays)
        if predictor.training:
            decided = F.gumbel_softmax(scores, hard=True)[..., :1] * stays
            predictor.share = decided.sum((1, 2)) / (tokens.size[0] * tokens.size[1])
            return self._masked(tokens, decided, (1 - decided) * stays, parts)._replace(memory=decided)
        order = scores[..., 0].argsort(dim=1, descending=True)
        left = self._left(block, tokens.size[0] * tokens.size[1])
        return self._dropped(tokens, order[:, :left], order[:, left:], parts)

    def _dropped(self, tokens: Tokens, stay: Tensor, go: Tensor, parts: nn.ModuleDict) -> Tokens:
        """Without the tokens at ``go`` (B, N - k) of those behind the prefix."""
        return keep(tokens, stay, self.restore, parts)

    def _masked(self, tokens: Tokens, decided: Tensor, goes: Tensor, parts: nn.ModuleDict) -> Tokens:
        """With all tokens, of which attention sees those that ``decided`` (B, N, 1) says; ``goes`` are dropped now."""
        return masked(tokens, decided, self.restore, parts)

    def losses(self, parts: nn.ModuleDict) -> dict[str, Tensor]:
        pairs = [(parts[str(block)].share, self._share(block)) for block in self.at if str(block) in parts]
        errors = [(share - wanted).square().mean() for share, wanted in pairs if share is not None]
        return {'loss_ratio': self.ratio_weight * torch.stack(errors).mean()} if errors else {}


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


def masked(tokens: Tokens, decided: Tensor, restore: str, parts: nn.ModuleDict, into: Tensor | None = None) -> Tokens:
    """All tokens, with a record in which those are dropped that do not stay.

    Args:
        tokens: With N tokens behind the prefix.
        decided: (B, N, 1): 1 for those that stay, 0 for others.
        restore, parts: As in :func:`~cait_mm.tokens.dropping.keep`.
        into: (B, N): what each token was added to, for ``unmerge``; itself, if it was not.
    """
    if not tokens.maps:
        return tokens
    own = torch.arange(decided.shape[1], device=decided.device).expand(decided.shape[:2])
    stays = F.pad(decided[..., 0] > 0.5, (tokens.prefix, 0), value=True)
    mask = parts[MASK].token if MASK in parts else None
    places = behind_prefix(own if into is None else into, tokens.prefix)
    return tokens._replace(record=tokens.noted().dropped(tokens.x, places, stays, restore, mask))


def masked_softmax(logits: Tensor, stays: Tensor) -> Tensor:
    """Attention from its logits (B, heads, N, N), among the tokens for which ``stays`` (B, N) is 1 and not 0; every
    token attends to itself too.
    """
    count = logits.shape[-1]
    itself = torch.eye(count, device=stays.device)
    seen = stays.float()[:, None, None] * (1 - itself) + itself
    weights = (logits - logits.max(dim=-1, keepdim=True).values).float().exp() * seen
    return ((weights + EPS / count) / (weights.sum(-1, keepdim=True) + EPS)).to(logits)


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
