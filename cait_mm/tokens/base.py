"""A token reducer: where it acts, what it does to tokens, where each patch went, what it costs.

A reducer is plain data, part of a :class:`~cait_mm.spec.Spec`, with functions on :class:`Tokens`. What it learns is in
modules of its own (:meth:`TokenReducer.parts`), which the backbone holds.
"""
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid, spread
from cait_mm.tokens.record import Record

Weigh = Callable[[Tensor], Tensor]
"""Makes attention from its logits, (B, heads, N, N) both."""


class Tokens(NamedTuple):
    """The tokens on their way through the blocks, and what reducers note about them."""

    x: Tensor
    """(B, prefix + N, C)."""
    prefix: int
    """Tokens in front of the patches: CLS, distillation token, registers."""
    grid: Grid
    """The grid (H, W) that the N tokens lie on; where a ``record`` says where patches went, that of all patches."""
    size: Grid
    """The grid (H, W) of all patches."""
    places: Any = None
    """Where tokens stand for positions that act in attention."""
    bias: Tensor | None = None
    """Added to the logits of attention; it broadcasts to (B, heads, N, N)."""
    record: Record | None = None
    """Where each patch went; None as long as tokens lie on ``grid``."""
    lost: Tensor | None = None
    """What reducers took from every patch, (B, C, H, W), if maps are restored with it."""
    memory: Any = None
    """What a reducer remembers from block to block."""
    maps: bool = True
    """Whether maps are wanted; if not, nobody needs to note where patches went."""

    @property
    def patches(self) -> Tensor:
        """The tokens behind the prefix, (B, N, C)."""
        return self.x[:, self.prefix:]

    def spread(self, mode: str = 'nearest') -> Tensor:
        """The map (B, C, H, W) in which every patch has the token that it ended in, or what its record says.

        On a grid, ``mode`` is that of :func:`~cait_mm.ops.token_merge.restore`.
        """
        if self.record is None:
            return spread(self.patches, self.grid, self.size, mode)
        return self.record.spread(self.x).transpose(1, 2).unflatten(2, self.size)

    def sized(self, size: Tensor) -> 'Tokens':
        """The same with a memory of how many patches each token stands for, (B, N, 1), and the bias of proportional
        attention.
        """
        return self._replace(memory=size, bias=F.pad(size.log().transpose(1, 2)[:, None], (self.prefix, 0)))

    def noted(self) -> Record:
        """The record so far."""
        return self.record or Record.of_all(self.x, self.prefix)


class Looked(NamedTuple):
    """Queries and keys (B, heads, N, width) of the attention before an FFN, and its bias and scale."""

    q: Tensor
    k: Tensor
    bias: Tensor | None
    scale: float
    attention: Tensor | None = None
    """(B, heads, N, N), where :meth:`TokenReducer.weigh` made it."""

    def weights(self, rows: int | None = None) -> Tensor:
        """The attention (B, heads, N, N), or that of its first ``rows`` tokens alone."""
        if self.attention is not None:
            return self.attention[:, :, :rows]
        logits = (self.q[:, :, :rows] * self.scale) @ self.k.transpose(-2, -1)
        return (logits if self.bias is None else logits + self.bias[:, :, :rows]).softmax(dim=-1)

    def of_cls(self, prefix: int) -> Tensor:
        """How much CLS attends to each of the N tokens behind ``prefix``, the mean over the heads: (B, N)."""
        return self.weights(1)[:, :, 0, prefix:].mean(1)


class BlockTokens(NamedTuple):
    """How many tokens, prefix included, a block's attention and FFN see, and what the reducer itself costs there."""

    attention: int
    ffn: int
    cost: Cost = Cost(0, 0)
    left: int | None = None
    """Tokens behind the block; None if they are those of the FFN."""
    windows: tuple[int, int] | None = None
    """How many attentions there are, and of how many tokens each; None if there is one over all tokens."""
    instead: Cost | None = None
    """What the block costs, if the reducer supplies it."""


@dataclass(frozen=True)
class TokenReducer(ABC):
    """A token reducer. Subclasses are frozen dataclasses of their settings; blocks are 0-based.

    Raises:
        UserError: A setting is impossible.
    """

    needs_cls: ClassVar[bool] = False
    """Whether CLS decides which tokens stay."""

    def check(self, arch: Arch) -> None:
        """Raise if ``arch`` cannot be reduced this way."""
        name = type(self).__name__
        if not arch.scatters:
            raise UserError(f'tokens={name}: {arch.name} needs its tokens on a grid, in the order of the grid; merge '
                            'neighbours (merge=((4, \'horizontal\'), ...)).')
        late = [block for block in self.blocks(arch) if block >= arch.depth]
        if late:
            raise UserError(f'tokens={name} names block {late[0]}: {arch.name} has blocks 0 to {arch.depth - 1}.')
        if self.needs_cls and not arch.has_cls:
            raise UserError(f'tokens={name} asks the CLS token which tokens matter, and {arch.name} has none.')

    @abstractmethod
    def blocks(self, arch: Arch) -> Sequence[int]:
        """The blocks that it acts in or before."""

    @abstractmethod
    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        """The tokens of every block of the widths in ``blocks``, on images of ``grid`` patches."""

    def parts(self, arch: Arch, depth: int, prefix: int) -> nn.ModuleDict:
        """What is learned, for the first ``depth`` blocks, by the number of the block; ``mask`` is the mask token."""
        return nn.ModuleDict()

    def block(self, arch: Arch, index: int, widths: BlockSpec, drop_path: float = 0.) -> nn.Module | None:
        """The block that stands in place of the family's block number ``index``; None leaves that.

        It has ``attn`` and ``mlp`` of ``widths``, as the family's has. It is called with the map (B, H * W, C), what
        the reducer remembers (:attr:`Tokens.memory`) and the grid (H, W), and returns the first two.
        """
        return None

    def grids(self, arch: Arch, grid: Grid) -> list[Grid]:
        """The grid (H, W) that tokens lie on inside each block, on images of ``grid`` patches; those of all patches
        where tokens do not lie on a grid.
        """
        grids = []
        for block in range(arch.depth):
            grid = arch.enter(block, grid)
            grids.append(grid)
        return grids

    def looks(self, block: int) -> bool:
        """Whether it acts between attention and FFN of ``block``."""
        return False

    def weigh(self, block: int, tokens: Tokens) -> Weigh | None:
        """What makes the attention of ``block`` from its logits (B, heads, N, N), where :meth:`between` needs all of it
        or it is no softmax: attention is then computed unfused, once, and handed over. None leaves it fused.
        """
        return None

    def before(self, block: int, tokens: Tokens, parts: nn.ModuleDict) -> Tokens:
        """Tokens in front of ``block``."""
        return tokens

    def between(self, block: int, tokens: Tokens, looked: Looked, parts: nn.ModuleDict) -> Tokens:
        """Tokens between attention and FFN of ``block``, if :meth:`looks` says so."""
        return tokens

    def after(self, block: int, tokens: Tokens, parts: nn.ModuleDict) -> Tokens:
        """Tokens behind ``block``."""
        return tokens

    def end(self, tokens: Tokens) -> Tokens:
        """Tokens behind the last block, as a classifier reads them."""
        return tokens

    def losses(self, parts: nn.ModuleDict) -> dict[str, Tensor]:
        """What it adds to the loss of a classifier that is trained, after the forward pass."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as configs write ``tokens``."""
        settings = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return {'type': type(self).__name__, **settings}


def checked_count(name: str, value: Any, least: int = 0) -> int:
    """``value`` as a whole number of at least ``least``.

    Raises:
        UserError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UserError(f'{name}={shown(value)}: give a whole number of {least} or more.')
    return int(value)


def checked_blocks(name: str, value: Any) -> tuple[int, ...]:
    """``value``, numbers of blocks, in ascending order.

    Raises:
        UserError: They are no whole numbers, or one is there twice.
    """
    how = f'{name}={shown(value)}: give numbers of blocks, such as (3, 6, 9).'
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or len({*map(str, value)}) != len(value):
        raise UserError(how)
    return tuple(sorted(checked_count(f'a block of {name}', block) for block in value))


def checked_choice(name: str, value: Any, known: Sequence[str]) -> str:
    """``value``, one of ``known``.

    Raises:
        UserError: It is something else.
    """
    if value not in known:
        raise UserError(f'{name}={shown(value)}: use {", ".join(known)}.')
    return value


def checked_flag(name: str, value: Any) -> bool:
    """``value``, True or False.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(value, bool):
        raise UserError(f'{name}={shown(value)}: use True or False.')
    return value


def checked_share(name: str, value: Any) -> float:
    """``value`` as a share, above 0 and up to 1.

    Raises:
        UserError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise UserError(f'{name}={shown(value)}: give a number above 0 and up to 1.')
    return float(value)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
