"""DynamicViT (Rao et al., NeurIPS 2021): tokens dropped as a small network says, written from its description and code.

In front of some blocks a predictor gives every token the probability that it stays. In use the most probable ones stay.
In training all tokens stay in place and a decision for each is drawn (Gumbel softmax, straight through): attention sees
only the tokens that stay, and every token itself, so that gradients reach the decisions.
"""
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost
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
from cait_mm.tokens.predictor import Predictor
from cait_mm.tokens.record import behind_prefix

EPS = 1e-6
"""Added to the attention of tokens that are masked, all together, as in the authors' code."""


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
