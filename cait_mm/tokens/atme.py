"""ATME (paper, section III-B) as a token reducer: neighbours merge before a block, and the grid stays a grid."""
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost, linear
from cait_mm.ops.attention import size_bias
from cait_mm.ops.token_merge import Grid, TokenMerge, fused_tokens, has_conv, is_weighted, merged_grid
from cait_mm.tokens.base import BlockTokens, TokenReducer, Tokens

ALTERNATING = ('horizontal', 'vertical')
"""The kinds of merges, in turn."""


def even_placement(depth: int, count: int) -> list[int]:
    """``count`` blocks that divide ``depth`` blocks evenly, for example 4 and 8 of 12."""
    return [depth * (i + 1) // (count + 1) for i in range(count)]


@dataclass(frozen=True)
class ATME(TokenReducer):
    """Merges of neighbours; kinds are those of :mod:`~cait_mm.ops.token_merge`.

    Args:
        merges: The kind of the merge before each block that has one, by its number.
    """

    merges: Mapping[int, str]

    def blocks(self, arch: Arch) -> Sequence[int]:
        return tuple(self.merges)

    def check(self, arch: Arch) -> None:
        """Spec checks merges by the names of their blocks."""

    def grids(self, arch: Arch, grid: Grid) -> list[Grid]:
        grids = []
        for block in range(arch.depth):
            grid = arch.enter(block, grid)
            if block in self.merges:
                grid = merged_grid(self.merges[block], grid)
            grids.append(grid)
        return grids

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        for block, inside in enumerate(self.grids(arch, grid)):
            patches, cost = inside[0] * inside[1], Cost(0, 0)
            if block in self.merges:
                cost = merge_cost(arch.dim(block), self.merges[block], patches, prefix > 0)
            tokens = patches + prefix
            yield BlockTokens(tokens, tokens, cost, windows=arch.windows(inside, prefix))

    def parts(self, arch: Arch, depth: int, prefix: int) -> nn.ModuleDict:
        return nn.ModuleDict({str(block): TokenMerge(arch.dim(block), kind, prefix > 0)
                              for block, kind in self.merges.items() if block < depth})

    def before(self, block: int, tokens: Tokens, parts: nn.ModuleDict) -> Tokens:
        if str(block) not in parts:
            return tokens
        merge, prefix = parts[str(block)], tokens.prefix
        merged, grid = merge(tokens.patches, tokens.grid)
        x = torch.cat([tokens.x[:, :prefix], merged], dim=1) if prefix else merged
        places = tokens.places and tokens.places.merged(tokens.grid, merge.kind, tokens.size, prefix)
        logarithm, bias = tokens.memory, None
        if merge.proportion is not None:
            own = merge.proportion * math.log(fused_tokens(merge.kind))
            logarithm = own if logarithm is None else logarithm + own
        if isinstance(logarithm, Tensor):
            bias = size_bias(x, prefix, logarithm)
        return tokens._replace(x=x, grid=grid, places=places, bias=bias, memory=logarithm)


def merge_cost(dim: int, kind: str, tokens: int, has_cls: bool = True) -> Cost:
    """The linear layer (and depthwise convolution) of a merge of ``kind`` that leaves ``tokens`` tokens.

    The distances and weights of a weighted merge are no matrix products and count nothing, as in fvcore.
    """
    cost = linear(tokens, fused_tokens(kind) * dim, dim)
    if is_weighted(kind):
        cost += Cost(0, 1 + has_cls)
    return cost + linear(tokens, 9, dim) if has_conv(kind) else cost
