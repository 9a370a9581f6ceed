"""EViT (Liang et al., ICLR 2022): in some blocks the tokens stay that CLS attends to, written from its description.

Attentiveness is the mean over the heads of CLS's attention to a token. The others are fused into one token, their sum
weighted by their attentiveness; it stands behind those that stay and takes part in the next choice like any other.
"""
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.errors import UserError
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
from cait_mm.tokens.dropping import RESTORES, cls_row_cost, keep, mask_cost, mask_parts


@dataclass(frozen=True)
class EViT(TokenReducer):
    """EViT's dropping, between attention and FFN.

    Args:
        keep: The share of the tokens behind CLS that stay, rounded up.
        at: The blocks in which tokens are dropped.
        fuse: Whether the others are fused into one token, as in the paper's main results.
        restore: How maps get the dropped tokens back (:mod:`~cait_mm.tokens.record`); ``unmerge`` gives them the fused
            token.

    Raises:
        UserError: A setting is impossible.
    """

    needs_cls: ClassVar[bool] = True

    keep: float = 0.7
    at: tuple[int, ...] = (3, 6, 9)
    fuse: bool = True
    restore: str = 'structured'

    def __post_init__(self) -> None:
        object.__setattr__(self, 'keep', checked_share('keep', self.keep))
        object.__setattr__(self, 'at', checked_blocks('at', self.at))
        checked_flag('fuse', self.fuse)
        checked_choice('restore', self.restore, RESTORES)
        if self.restore == 'unmerge' and not self.fuse:
            raise UserError('restore=\'unmerge\' gives dropped patches the fused token, and fuse=False has none: use '
                            'structured or unstructured.')

    def blocks(self, arch: Arch) -> Sequence[int]:
        return self.at

    def _kept(self, patches: int) -> int:
        """How many of ``patches`` tokens stay."""
        return math.ceil(self.keep * patches)

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        patches = grid[0] * grid[1]
        for block, widths in enumerate(blocks):
            seen, cost = patches, mask_cost(arch, self.restore, block)
            if block in self.at and self._kept(patches) < patches:
                cost += cls_row_cost(patches + prefix, widths)
                patches = self._kept(patches) + int(self.fuse)
            yield BlockTokens(seen + prefix, patches + prefix, cost)

    def parts(self, arch: Arch, depth: int, prefix: int) -> nn.ModuleDict:
        return nn.ModuleDict(mask_parts(arch, self.restore))

    def looks(self, block: int) -> bool:
        return block in self.at

    def between(self, block: int, tokens: Tokens, looked: Looked, parts: nn.ModuleDict) -> Tokens:
        patches, fused = tokens.patches, None
        kept = self._kept(patches.shape[1])
        if kept == patches.shape[1]:
            return tokens
        attention = looked.of_cls(tokens.prefix)
        stay = attention.topk(kept).indices
        if self.fuse:
            fused = (patches * attention.scatter(1, stay, 0)[..., None]).sum(1, keepdim=True)
        return keep(tokens, stay, self.restore, parts, fused)
