"""STViT-R (Chang et al., CVPR 2023): semantic tokens in Swin's third stage, written from its description and its code.

Every six blocks of the stage are a group, the paper's *dumbbell unit*: one of Swin's own; one that makes a few semantic
tokens per window; one in which they attend to the whole map too, one in which they attend to those of their window, one
in which they attend to all of them; and one in which the map attends to them and is recovered
(:mod:`~cait_mm.ops.semantic`). The map waits in between, so every stage ends with all of its tokens.

Grids of any size are covered: windows as Swin's; their maxima over the whole map, as evenly as can be; and the wider
windows that semantic tokens attend to are moved inside the map. At 14x14 this is its code, which knows no other size.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from torch import nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.checks import check_positive_number
from cait_mm.arch.cost import Cost, ffn_cost, layer_norm, linear
from cait_mm.errors import UserError
from cait_mm.ops.attention import Attention
from cait_mm.ops.semantic import CrossAttention, Gather, Generate, Mix, Recover, sample_grid
from cait_mm.ops.token_merge import Grid
from cait_mm.ops.windows import window_of
from cait_mm.tokens.base import BlockTokens, TokenReducer, checked_count

ROLES = ('swin', 'generate', 'gather', 'local', 'global', 'recover')
"""The blocks of a group."""


@dataclass(frozen=True)
class STViTR(TokenReducer):
    """STViT-R's groups of blocks in the third stage of a Swin. Blocks behind the last whole group stay Swin's.

    Args:
        samples: Semantic tokens on each side of a window.
        margin: How many rows and columns more than a window semantic tokens attend to when they are made.
        init_values: LayerScale's start in the blocks on semantic tokens. With 1e-5, its code's, such blocks do nearly
            nothing at first; it trains from scratch.

    Raises:
        UserError: A setting is impossible.
    """

    samples: int = 3
    margin: int = 3
    init_values: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, 'samples', checked_count('samples', self.samples, 1))
        object.__setattr__(self, 'margin', checked_count('margin', self.margin))
        check_positive_number('init_values', self.init_values, 1, 'must be a number above 0 and up to 1')

    def check(self, arch: Arch) -> None:
        if arch.family != 'swin' or len(arch.merge_blocks) < len(ROLES):
            raise UserError(f'tokens=STViTR puts groups of {len(ROLES)} blocks into the third stage of a Swin, and '
                            f'{arch.name} has no such stage of that many blocks.')
        if self.samples >= arch.window_size:
            raise UserError(f'tokens=STViTR: samples={self.samples} are no fewer tokens than {arch.name}\'s windows '
                            f'have on a side, {arch.window_size}.')

    def blocks(self, arch: Arch) -> Sequence[int]:
        return [block for block in arch.merge_blocks if self.role(arch, block) != ROLES[0]]

    def role(self, arch: Arch, block: int) -> str:
        """What ``block`` is in its group, one of :data:`ROLES`."""
        place, groups = block - arch.merge_blocks[0], len(arch.merge_blocks) // len(ROLES)
        return ROLES[place % len(ROLES)] if 0 <= place < groups * len(ROLES) else ROLES[0]

    def block(self, arch: Arch, index: int, widths: BlockSpec, drop_path: float = 0.) -> nn.Module | None:
        role, dim = self.role(arch, index), arch.dim(index)
        if role == ROLES[0]:
            return None
        attention = (Attention if role in ('local', 'global') else CrossAttention)(
            dim, widths.num_heads, widths.qk_dim, widths.v_dim, widths.head_dim, arch.qkv_bias)
        windows = dict(window_size=arch.window_size, samples=self.samples)
        build = {'generate': partial(Generate, **windows, margin=self.margin), 'gather': Gather,
                 'local': partial(Mix, **windows, local=True), 'global': partial(Mix, **windows, local=False),
                 'recover': Recover}[role]
        return build(attention, dim, widths.ffn_dim, drop_path, arch.norm_eps, self.init_values)

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        for block, (widths, inside) in enumerate(zip(blocks, self.grids(arch, grid))):
            role, patches = self.role(arch, block), prod(inside)
            if role == ROLES[0]:
                yield BlockTokens(patches, patches, windows=arch.windows(inside, prefix))
            else:
                cost = self._cost(arch, block, widths, inside)
                seen = patches if role == 'recover' else prod(sample_grid(inside, arch.window_size, self.samples))
                yield BlockTokens(seen, seen, left=patches, instead=cost)

    def _cost(self, arch: Arch, block: int, widths: BlockSpec, grid: Grid) -> Cost:
        """The cost of a block on semantic tokens of a map on ``grid``: each of ``queries`` tokens attends to ``seen``
        of ``keys``, after ``normed`` went through the norm, and the FFN sees the queries.
        """
        patches, made = prod(grid), prod(sample_grid(grid, arch.window_size, self.samples))
        own, both, window = self.samples**2, made + patches, window_of(grid, arch.window_size)
        wider = prod(min(length + self.margin, side) for length, side in zip(window, grid))
        queries, keys, seen, normed = {
            'generate': (made, both, own + wider, both),
            'gather': (made, both, both, both),
            'local': (made, made, own, made),
            'global': (made, made, made, made),
            'recover': (patches, made, made, both),
        }[self.role(arch, block)]
        dim, asked, values = arch.dim(block), widths.num_heads * widths.qk_dim, widths.num_heads * widths.v_dim
        qkv = linear(queries, dim, asked, arch.qkv_bias) + linear(keys, dim, asked + values, arch.qkv_bias)
        layer_scales = Cost(0, 2 * dim)
        return (layer_norm(normed, dim) + qkv + Cost(queries * seen * (asked + values), 0)
                + linear(queries, values, dim) + ffn_cost(dim, widths, queries) + layer_scales)
