"""The description of every dense architecture, as plain data: shapes, names, and the cost outside its blocks.

A family is one subclass here and one model in ``cait_mm/models``; everything else is generic. Blocks are counted
through all stages, 0-based. Their *name* is for configs and commands: the index itself, or ``stage.block`` where there
are stages.
"""
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from cait_mm.arch.checks import MOST_BLOCKS, MOST_PATCHES, check_positive_int, check_positive_number
from cait_mm.arch.cost import Cost, attention_cost, ffn_cost
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid

BlockName = int | str
ADDED = ('in_channels', 'norm_eps', 'window_rule')
"""Fields that earlier versions do not know. They are written only if they are not the default, so that earlier versions
can read the rest.
"""


@dataclass(frozen=True)
class BlockSpec:
    """Widths of a block: ``qk_dim`` and ``v_dim`` per head, ``ffn_dim`` in total.

    ``head_dim`` is the dense width per head: it fixes the softmax scale, however narrow the block becomes.
    """

    num_heads: int
    qk_dim: int
    v_dim: int
    ffn_dim: int
    head_dim: int


def as_image_size(name: str, value: Any) -> tuple[int, int]:
    """Pixels (H, W) of a side length or a pair of them.

    Raises:
        UserError: It is neither.
    """
    sides = (value, value) if isinstance(value, int) else value
    if not isinstance(sides, (list, tuple)) or len(sides) != 2:
        raise UserError(f'{name}={shown(value)} is neither a side length nor a pair (height, width).')
    for side in sides:
        check_positive_int(name, side)
    return tuple(sides)


class Arch(ABC):
    """A dense architecture. Subclasses are frozen dataclasses whose fields a config may set.

    Every one has ``name``, ``embed_dim``, ``mlp_ratio``, ``patch_size``, ``depth``, the number of blocks in all,
    ``img_size``, the pixels (H, W) that it was pretrained at, and ``in_channels``, those of the image.
    """

    family: ClassVar[str]
    required: ClassVar[tuple[str, ...]]
    """Fields that a free architecture has to give."""
    has_cls: ClassVar[bool] = True
    qkv_bias: ClassVar[bool] = True
    aux_head: ClassVar[bool] = False
    """Whether the classifier adds a head over all tokens to the one on CLS."""
    dist_token: ClassVar[bool] = False
    """Whether a classifier averages the head on CLS and one on a distillation token."""
    planes: ClassVar[str | None] = None
    """How channels of queries and keys turn in planes (:mod:`~cait_mm.ops.planes`); None where they do not."""
    whole: ClassVar[tuple[str, ...]] = ()
    """Which of ``q``, ``k``, ``v`` and ``ffn`` keep all their channels, because a norm behind them reads them all."""
    scatters: ClassVar[bool] = True
    """Whether tokens may be dropped or merged wherever they lie, between attention and FFN: no position acts in
    attention, and attention and FFN follow each other.
    """
    norm_eps: ClassVar[float] = 1e-5
    least_side: ClassVar[int] = 1
    """Tokens that a merge has to leave on each side of the grid."""

    name: str
    embed_dim: int
    depth: int
    mlp_ratio: float
    patch_size: int
    img_size: tuple[int, int]
    in_channels: int

    def _check_common(self) -> None:
        if not isinstance(self.name, str):
            raise UserError(f'arch name={shown(self.name)} is no text.')
        for field in ('embed_dim', 'patch_size', 'in_channels'):
            check_positive_int(f'arch {field}', getattr(self, field))
        check_positive_int('arch depth', self.depth, MOST_BLOCKS)
        check_positive_number('arch mlp_ratio', self.mlp_ratio, 64, 'must be a number above 0 and up to 64')
        object.__setattr__(self, 'img_size', as_image_size('arch img_size', self.img_size))
        if any(side < self.patch_size for side in self.img_size):
            raise UserError(f'arch img_size={self.img_size} is smaller than one patch of {self.patch_size} pixels.')
        self.check_grid('arch img_size', self.img_size)
        for block in range(self.depth):
            check_positive_int('arch embed_dim', self.dim(block))
            if self.dim(block) % self.heads(block):
                raise UserError(f'arch embed_dim={self.dim(block)} is not divisible by num_heads={self.heads(block)}.')
            if int(self.dim(block) * self.mlp_ratio) < 1:
                raise UserError(f'arch mlp_ratio={self.mlp_ratio} leaves no channel of {self.dim(block)}.')

    @abstractmethod
    def dim(self, block: int) -> int:
        """Channels of a token in ``block``."""

    @abstractmethod
    def heads(self, block: int) -> int:
        """Attention heads of ``block``."""

    @property
    def out_dim(self) -> int:
        """Channels of the last block."""
        return self.dim(self.depth - 1)

    def dense_block(self, block: int) -> BlockSpec:
        """The full widths of ``block``."""
        head_dim = self.dim(block) // self.heads(block)
        return BlockSpec(self.heads(block), head_dim, head_dim, int(self.dim(block) * self.mlp_ratio), head_dim)

    @property
    def merge_blocks(self) -> range:
        """The blocks that a merge may stand before."""
        return range(self.depth)

    def block_name(self, block: int) -> BlockName:
        """The name of ``block`` in configs and commands."""
        return block

    def block_index(self, name: Any) -> int:
        """The number of the block called ``name``.

        Raises:
            UserError: There is none, or a merge may not stand before it.
        """
        if isinstance(name, bool) or not isinstance(name, int) or not 0 <= name < self.depth:
            raise UserError(f'{self.name} has blocks 0 to {self.depth - 1}.')
        return name

    def enters(self, block: int) -> bool:
        """Whether there is a step to a new stage before ``block``."""
        return False

    def alike(self, block: int, part: str) -> str:
        """What ``block`` shares with those whose ``part`` (``attention``, ``ffn``, or a name of what is around them)
        takes the same time at equal tokens and widths; here all do.
        """
        return ''

    @abstractmethod
    def block_path(self, block: int) -> str:
        """The prefix of ``block`` in a state dict, without the final dot."""

    @staticmethod
    @abstractmethod
    def sizes(state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that follow from names and shapes in a backbone's ``state_dict``; empty for another family.
        """

    def grid(self, img_size: tuple[int, int] | None = None) -> Grid:
        """The patch grid (H, W) of an image of ``img_size`` pixels; partial patches are padded to whole ones."""
        height, width = img_size or self.img_size
        return -(-height // self.patch_size), -(-width // self.patch_size)

    def enter(self, block: int, grid: Grid) -> Grid:
        """The grid that ``block`` gets from the grid of the block before it, without merges."""
        return grid

    def check_grid(self, name: str, img_size: tuple[int, int]) -> None:
        """Raise if an image of ``img_size`` pixels has more patches than any machine can hold."""
        if math.prod(self.grid(img_size)) > MOST_PATCHES:
            raise UserError(f'{name}={img_size} has more than {MOST_PATCHES} patches of {self.patch_size} pixels, the '
                            'most that is supported.')

    def prefix_tokens(self, with_cls_token: bool = True) -> int:
        """Tokens that stand in front of the grid and pass by merges; without CLS where ``with_cls_token`` is False."""
        return int(self.has_cls and with_cls_token)

    @abstractmethod
    def stem_cost(self, grid: Grid, prefix: int) -> Cost:
        """The cost of everything before block 0, on ``grid`` patches and ``prefix`` tokens in front of them, with
        embeddings as at the pretraining size.
        """

    def block_cost(self, index: int, block: BlockSpec, tokens: int, windows: tuple[int, int], behind: int) -> Cost:
        """The cost of block number ``index`` of the widths in ``block``: attention over ``tokens`` tokens in
        :meth:`windows`, FFN over ``behind``.
        """
        dim = self.dim(index)
        return attention_cost(dim, block, tokens, windows, self.qkv_bias) + ffn_cost(dim, block, behind)

    def enter_cost(self, block: int, grid: Grid) -> Cost:
        """The cost of layers between ``block`` and the one before it, whose grid is ``grid``, without merges."""
        return Cost(0, 0)

    def windows(self, grid: Grid, prefix: int) -> tuple[int, int]:
        """The number of attentions that a block computes in parallel, and of tokens in each, padding included."""
        return 1, grid[0] * grid[1] + prefix

    def bias_params(self, block: int) -> int:
        """Parameters of a block's position bias."""
        return 0

    @abstractmethod
    def head_cost(self, grid: Grid, num_classes: int) -> Cost:
        """The cost of the final norm and the classifier after the last block, whose grid is ``grid``."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; :func:`~cait_mm.arch.get_arch` reads them."""
        usual = {field.name: field.default for field in fields(self) if field.name in ADDED}
        data = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
                if key not in usual or value != usual[key]}
        return {'family': self.family, **data}
