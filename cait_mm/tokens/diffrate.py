"""DiffRate (Chen et al., ICCV 2023): in every block unattended tokens are dropped and the next ones merged, in counts
that were learned, written from its description.

Tokens are ranked by CLS's attention, the mean over the heads. The last are dropped. The next join the most similar of
those that stay, by the cosine of the tokens themselves, and become their plain mean. Attention is proportional: a token
counts as the patches that it stands for, where one that joined counts by its similarity.
``cait_mm/pruning/diffrate.py`` learns the counts.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost
from cait_mm.ops.token_merge import Grid
from cait_mm.tokens.base import BlockTokens, Looked, TokenReducer, Tokens, checked_choice, checked_count
from cait_mm.tokens.dropping import (
    RESTORES,
    arch_has,
    checked_counts,
    cls_row_cost,
    keep,
    mask_cost,
    mask_parts,
    scaled,
)
from cait_mm.tokens.record import take, wide

LEAST = 1e-6
"""Of a token's size: one that opposite tokens join would have none, and no logarithm."""


@dataclass(frozen=True)
class DiffRate(TokenReducer):
    """DiffRate's dropping and merging, between attention and FFN. Maps give a merged patch the token that it joined.

    Args:
        kept: How many tokens dropping leaves in each block, CLS counted (the authors' ``prune_kept_num``). Where there
            are fewer already, they stay.
        merged: How many merging leaves of these (the authors' ``merge_kept_num``).
        of: The tokens of an image that the counts are meant for, CLS counted; images of other sizes keep the same
            share of their patches, rounded up.
        restore: ``structured`` or ``unstructured``: how maps get the dropped tokens back
            (:mod:`~cait_mm.tokens.record`).

    Raises:
        UserError: A setting is impossible.
    """

    needs_cls: ClassVar[bool] = True

    kept: tuple[int, ...]
    merged: tuple[int, ...]
    of: int = 197
    restore: str = 'structured'

    def __post_init__(self) -> None:
        for name in ('kept', 'merged'):
            object.__setattr__(self, name, checked_counts(name, getattr(self, name), 2))
        checked_count('of', self.of, 2)
        checked_choice('restore', self.restore, RESTORES[:2])

    def check(self, arch: Arch) -> None:
        super().check(arch)
        arch_has(arch, self, kept=self.kept, merged=self.merged)

    def blocks(self, arch: Arch) -> Sequence[int]:
        return range(arch.depth)

    def _left(self, block: int, patches: int, grid: Grid) -> tuple[int, int]:
        """How many of ``patches`` tokens dropping, then merging, leaves in ``block`` on images of ``grid`` patches."""
        kept = min(patches, scaled(self.kept[block] - 1, grid, self.of - 1))
        return kept, min(kept, scaled(self.merged[block] - 1, grid, self.of - 1))

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        patches = grid[0] * grid[1]
        for block, widths in enumerate(blocks):
            kept, merged = self._left(block, patches, grid)
            cost = mask_cost(arch, self.restore, block) + Cost((kept - merged) * merged * arch.dim(block), 0)
            if merged < patches:
                cost += cls_row_cost(patches + prefix, widths)
            yield BlockTokens(patches + prefix, merged + prefix, cost)
            patches = merged

    def parts(self, arch: Arch, depth: int, prefix: int) -> nn.ModuleDict:
        return nn.ModuleDict(mask_parts(arch, self.restore))

    def looks(self, block: int) -> bool:
        return True

    def between(self, block: int, tokens: Tokens, looked: Looked, parts: nn.ModuleDict) -> Tokens:
        patches, size = tokens.patches, tokens.memory
        kept, merged = self._left(block, patches.shape[1], tokens.size)
        if merged == patches.shape[1]:
            return tokens
        stay = looked.of_cls(tokens.prefix).argsort(dim=1, descending=True)[:, :kept]
        tokens = keep(tokens, stay, self.restore if kept < patches.shape[1] else 'unmerge', parts)
        size = patches.new_ones(*stay.shape, 1) if size is None else take(size, stay)
        if merged == kept:
            return tokens.sized(size)
        patches = tokens.patches
        alike, into = join(patches, merged)
        ones = torch.ones_like(size)  # their sums count: ONNX's scatter with a mean is another one
        total = patches[:, :merged].scatter_add(1, wide(into, patches), patches[:, merged:])
        joined = total / ones[:, :merged].scatter_add(1, into[..., None], ones[:, merged:])
        size = size[:, :merged].scatter_add(1, into[..., None], size[:, merged:] * alike[..., None])
        first = torch.arange(merged, device=into.device).expand(into.shape[0], -1)
        tokens = keep(tokens, first, 'unmerge', parts, into=torch.cat([first, into], dim=1))
        size = size.clamp(min=LEAST)
        return tokens._replace(x=torch.cat([tokens.x[:, :tokens.prefix], joined], dim=1)).sized(size)


def join(patches: Tensor, stay: int) -> tuple[Tensor, Tensor]:
    """How similar each token (B, N, C) behind the first ``stay`` is to the most similar of them, and which it is: (B,
    N - stay) both.
    """
    metric = F.normalize(patches.detach(), dim=-1)
    return (metric[:, stay:] @ metric[:, :stay].transpose(1, 2)).max(dim=-1)
