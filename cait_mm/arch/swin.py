"""Swin: four stages of half the side and twice the width, attention in windows, no CLS."""
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar

from cait_mm.arch.base import Arch
from cait_mm.arch.checks import MOST_BLOCKS, check_positive_int, check_sequence
from cait_mm.arch.cost import Cost, layer_norm, linear
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid
from cait_mm.ops.windows import WINDOW_RULES, window_count, window_of

MOST_STAGES = 16
MERGE_STAGE = 2
"""The stage that merges stand in, 0-based: the paper's third, which has most of the blocks."""


@dataclass(frozen=True)
class SwinArch(Arch):
    """A dense Swin Transformer; ``depths`` and ``num_heads`` have one number for each stage.

    ``window_rule`` matters where a grid is no larger than a window: ``fitted`` makes the window as small as the grid
    and leaves it where it is (the official code), ``mm`` pads the grid to a window and shifts it (OpenMMLab). Earlier
    specs call it ``whole``.
    """

    family: ClassVar[str] = 'swin'
    required: ClassVar[tuple[str, ...]] = ('embed_dim', 'depths', 'num_heads')
    has_cls: ClassVar[bool] = False
    scatters: ClassVar[bool] = False
    least_side: ClassVar[int] = 2  # a window needs two

    name: str
    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    mlp_ratio: float = 4.0
    patch_size: int = 4
    window_size: int = 7
    img_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    window_rule: str = 'fitted'

    def __post_init__(self) -> None:
        for field in ('depths', 'num_heads'):
            value = getattr(self, field)
            check_sequence(f'arch {field}', value, '(2, 2, 6, 2), with one number for each stage')
            object.__setattr__(self, field, tuple(value))
            for number in value:
                check_positive_int(f'arch {field}', number, MOST_BLOCKS)
        if len(self.depths) != len(self.num_heads):
            raise UserError(f'arch depths={shown(self.depths)} and num_heads={shown(self.num_heads)} are of different '
                            'lengths.')
        if len(self.depths) > MOST_STAGES:
            raise UserError(f'arch depths has {len(self.depths)} stages, {MOST_STAGES} at most are supported.')
        check_positive_int('arch window_size', self.window_size)
        if self.window_rule == 'whole':
            object.__setattr__(self, 'window_rule', 'mm')
        if self.window_rule not in WINDOW_RULES:
            raise UserError(f'arch window_rule={shown(self.window_rule)}: use {" or ".join(WINDOW_RULES)}.')
        self._check_common()

    @property
    def depth(self) -> int:
        return sum(self.depths)

    @cached_property
    def first_blocks(self) -> tuple[int, ...]:
        """The first block of every stage."""
        return (0, *accumulate(self.depths[:-1]))

    def stage(self, block: int) -> int:
        """The stage that ``block`` belongs to."""
        return sum(block >= first for first in self.first_blocks) - 1

    def stage_dim(self, stage: int) -> int:
        """Channels of a token in ``stage``."""
        return self.embed_dim * 2**stage

    def dim(self, block: int) -> int:
        return self.stage_dim(self.stage(block))

    def heads(self, block: int) -> int:
        return self.num_heads[self.stage(block)]

    @property
    def merge_blocks(self) -> range:
        if len(self.depths) <= MERGE_STAGE:
            return range(0)
        first = self.first_blocks[MERGE_STAGE]
        return range(first, first + self.depths[MERGE_STAGE])

    def block_name(self, block: int) -> str:
        stage = self.stage(block)
        return f'{stage}.{block - self.first_blocks[stage]}'

    def block_index(self, name: Any) -> int:
        last = f'{MERGE_STAGE}.{len(self.merge_blocks) - 1}'
        where = (f'{self.name} merges in stage {MERGE_STAGE} (0-based), before blocks \'{MERGE_STAGE}.0\' to \'{last}\''
                 if self.merge_blocks else f'{self.name} has no stage {MERGE_STAGE}, where merges would stand')
        match = re.fullmatch(r'([0-9]{1,4})\.([0-9]{1,4})', name) if isinstance(name, str) else None
        if not match:
            raise UserError(f'{where}; write the block as a text "stage.block".')
        stage, block = map(int, match.groups())
        if stage != MERGE_STAGE or not self.merge_blocks or block >= len(self.merge_blocks):
            raise UserError(f'{where}.')
        return self.merge_blocks[block]

    def enters(self, block: int) -> bool:
        return block in self.first_blocks[1:]

    def alike(self, block: int, part: str) -> str:
        stage = self.stage(block)
        shifted = part == 'attention' and (block - self.first_blocks[stage]) % 2
        return f'stage {stage}, shifted' if shifted else f'stage {stage}'

    def block_path(self, block: int) -> str:
        stage = self.stage(block)
        return f'layers.{stage}.blocks.{block - self.first_blocks[stage]}'

    @staticmethod
    def sizes(state_dict: Mapping[str, Any]) -> dict[str, Any]:
        blocks = re.findall(r'^layers\.(\d+)\.blocks\.(\d+)\.norm1\.weight$', '\n'.join(state_dict), re.MULTILINE)
        if not blocks or 'patch_embed.proj.weight' not in state_dict:
            return {}
        stages = max(int(stage) for stage, _ in blocks) + 1
        depths = tuple(sum(int(stage) == index for stage, _ in blocks) for index in range(stages))
        return {'embed_dim': state_dict['patch_embed.proj.weight'].shape[0], 'depths': depths}

    def enter(self, block: int, grid: Grid) -> Grid:
        height, width = grid
        return (-(-height // 2), -(-width // 2)) if self.enters(block) else grid

    def stage_grid(self, stage: int, img_size: tuple[int, int]) -> Grid:
        """The dense grid of ``stage`` for an image of ``img_size`` pixels."""
        grid = self.grid(img_size)
        for first in self.first_blocks[1:stage + 1]:
            grid = self.enter(first, grid)
        return grid

    def stem_cost(self, grid: Grid, prefix: int) -> Cost:
        tokens, patch = grid[0] * grid[1], self.in_channels * self.patch_size**2
        return linear(tokens, patch, self.embed_dim) + layer_norm(tokens, self.embed_dim)

    def enter_cost(self, block: int, grid: Grid) -> Cost:
        if not self.enters(block):
            return Cost(0, 0)
        height, width = self.enter(block, grid)
        dim = self.dim(block)
        return layer_norm(height * width, 2 * dim) + linear(height * width, 2 * dim, dim, bias=False)

    def windows(self, grid: Grid, prefix: int) -> tuple[int, int]:
        window = window_of(grid, self.window_size, self.window_rule)
        return window_count(grid, window), window[0] * window[1]

    def bias_params(self, block: int) -> int:
        return (2 * self.window_size - 1)**2 * self.heads(block)

    def head_cost(self, grid: Grid, num_classes: int) -> Cost:
        return layer_norm(grid[0] * grid[1], self.out_dim) + linear(1, self.out_dim, num_classes)


SWIN = {
    'swin_tiny': SwinArch('swin_tiny', 96, (2, 2, 6, 2), (3, 6, 12, 24)),
    'swin_small': SwinArch('swin_small', 96, (2, 2, 18, 2), (3, 6, 12, 24)),
    'swin_base': SwinArch('swin_base', 128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
