"""Evo-ViT (Xu et al., AAAI 2022): slow and fast tokens by evolved attention, written from its description and its code.

A moving average of the attention that CLS pays ranks the patches. In front of some blocks the first share of them goes
on (*slow*) and the others wait as they are (*placeholders*) until the next such block, where all stand on their grid
again: nothing is dropped. The paper updates placeholders by what blocks add to one token that represents them
(*fast*); its code for DeiT leaves that out, its code for LeViT has it.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid
from cait_mm.tokens.base import (
    BlockTokens,
    Looked,
    TokenReducer,
    Tokens,
    checked_blocks,
    checked_choice,
    checked_flag,
    checked_share,
)
from cait_mm.tokens.dropping import cls_row_cost, keep
from cait_mm.tokens.record import wide

POOLS = ('mean', 'cls')


class Evolved(NamedTuple):
    """What Evo-ViT remembers."""

    scores: Tensor
    """The evolved attention of CLS to all patches in the order of the grid, (B, M)."""
    slow: Tensor | None = None
    """Which of them go on, (B, k); None for all."""
    fast: Tensor | None = None
    """The token that represents the others, (B, 1, C), as it was in front of the block."""


@dataclass(frozen=True)
class EvoViT(TokenReducer):
    """Evo-ViT's slow and fast tokens. Maps are complete: placeholders are in them as they are.

    Args:
        keep: The share of all patches that are slow.
        at: The blocks in front of which they are chosen, each time from all patches.
        tradeoff: The share of a block's own attention in the moving average, from the first of these blocks on; before
            it, the last block's counts alone, as in the settings of its code.
        fast: Update placeholders by their representative, which costs one token.
        pool: What a classifier reads: the mean of all patches, as its code, or CLS, for which DeiT's weights were
            trained. Its code trains a second head on CLS, for distillation, which is not here.

    Raises:
        UserError: A setting is impossible.
    """

    needs_cls: ClassVar[bool] = True

    keep: float = 0.5
    at: tuple[int, ...] = (4, 8)
    tradeoff: float = 0.5
    fast: bool = False
    pool: str = 'mean'

    def __post_init__(self) -> None:
        object.__setattr__(self, 'keep', checked_share('keep', self.keep))
        object.__setattr__(self, 'at', checked_blocks('at', self.at))
        object.__setattr__(self, 'tradeoff', checked_share('tradeoff', self.tradeoff))
        checked_flag('fast', self.fast)
        checked_choice('pool', self.pool, POOLS)
        if not self.at or self.at[0] < 1:
            raise UserError(f'at={shown(self.at)}: tokens are ranked by the attention of an earlier block, name blocks '
                            'from 1 on.')

    def blocks(self, arch: Arch) -> Sequence[int]:
        return self.at

    def _slow(self, patches: int) -> int:
        return max(1, int(patches * self.keep))

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        patches = grid[0] * grid[1]
        for block, widths in enumerate(blocks):
            tokens = prefix + (patches if block < self.at[0] else self._slow(patches) + self.fast)
            cost = cls_row_cost(tokens, widths) if self.looks(block) else Cost(0, 0)
            yield BlockTokens(tokens, tokens, cost, left=patches + prefix)

    def looks(self, block: int) -> bool:
        return self.at[0] - 1 <= block < self.at[-1]

    def before(self, block: int, tokens: Tokens, parts: nn.ModuleDict) -> Tokens:
        if block not in self.at:
            return tokens
        tokens, scores = rejoined(tokens), tokens.memory.scores
        slow = scores.argsort(dim=1, descending=True)[:, :self._slow(scores.shape[1])]
        fast = represented(tokens.patches, scores, slow) if self.fast else None
        kept = keep(tokens._replace(maps=True), slow, 'structured', parts, fused=fast)  # placeholders are in its record
        return kept._replace(maps=tokens.maps, memory=Evolved(scores, slow, fast))

    def between(self, block: int, tokens: Tokens, looked: Looked, parts: nn.ModuleDict) -> Tokens:
        seen, evolved = looked.of_cls(tokens.prefix), tokens.memory
        if evolved is None or evolved.slow is None:
            return tokens._replace(memory=Evolved(seen))
        scores, slow = evolved.scores, evolved.slow
        mixed = (1 - self.tradeoff) * scores.gather(1, slow) + self.tradeoff * seen[:, :slow.shape[1]]
        return tokens._replace(memory=evolved._replace(scores=scores.scatter(1, slow, mixed)))

    def after(self, block: int, tokens: Tokens, parts: nn.ModuleDict) -> Tokens:
        evolved = tokens.memory
        if evolved is None or evolved.fast is None:
            return tokens
        fast, record = tokens.x[:, -1:], tokens.record
        record = record._replace(last=record.last + (fast - evolved.fast))
        return tokens._replace(record=record, memory=evolved._replace(fast=fast))

    def end(self, tokens: Tokens) -> Tokens:
        tokens = rejoined(tokens)
        if self.pool == 'cls':
            return tokens
        return tokens._replace(x=torch.cat([tokens.patches.mean(1, keepdim=True), tokens.x[:, 1:]], dim=1))


def rejoined(tokens: Tokens) -> Tokens:
    """All patches on their grid again, behind the tokens in front of them."""
    if tokens.record is None:
        return tokens
    x = torch.cat([tokens.x[:, :tokens.prefix], tokens.record.spread(tokens.x)], dim=1)
    return tokens._replace(x=x, record=None)


def represented(patches: Tensor, scores: Tensor, slow: Tensor) -> Tensor:
    """The mean (B, 1, C) of the patches (B, N, C) that are not at ``slow`` (B, k), weighted by ``scores`` (B, N)."""
    weights = scores.scatter(1, slow, 0.)
    return (patches * wide(weights / weights.sum(1, keepdim=True), patches)).sum(1, keepdim=True)
