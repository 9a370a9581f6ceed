"""The description of a compressed ViT: its dense architecture, its merges and the widths of every block.

A :class:`Spec` is the contract between all stages. Compression writes one, a compressed checkpoint carries one, a
backbone is built from one, and the MACs follow from one. It is frozen, plain data, and has a versioned JSON form.

Blocks are 0-based, as ``out_indices`` are; the paper counts them from 1. In Swin a merge names its block
``'stage.block'``, and blocks are counted through all stages everywhere else.
"""
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from cait_mm.arch import Arch, BlockName, BlockSpec, check_keys, check_positive_int, get_arch
from cait_mm.arch.checks import MOST_BLOCKS, check_sequence
from cait_mm.errors import UserError, reason_of, shown
from cait_mm.ops.token_merge import MERGE_KINDS, WEIGHTED, Grid, merged_grid
from cait_mm.tokens import ATME, TokenReducer, as_reducer

SPEC_VERSION = 1


class Merge(NamedTuple):
    """A merge of ``kind`` (:data:`~cait_mm.ops.token_merge.MERGE_KINDS`) before the block that is called ``block``."""

    block: BlockName
    kind: str

    def __str__(self) -> str:
        return ':'.join(part if isinstance(part, str) and len(part) < 40 else shown(part) for part in self)


@dataclass(frozen=True)
class Spec:
    """A compressed ViT as data. Use :func:`make_spec` to write one down and :meth:`from_dict` to read one."""

    arch: Arch
    merges: tuple[Merge, ...]
    blocks: tuple[BlockSpec, ...]
    tokens: TokenReducer | None = None
    """Another token reducer than ATME, instead of merges."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'merges', _checked_merges(self.arch, self.merges))
        _check_blocks(self.arch, self.blocks)
        if self.tokens is not None:
            if self.merges:
                raise UserError(f'tokens={type(self.tokens).__name__} reduces tokens its own way: leave merge out.')
            self.tokens.check(self.arch)

    @property
    def is_pruned(self) -> bool:
        """Whether channels were cut, merged or not."""
        return self.blocks != Spec.dense(self.arch).blocks

    @property
    def block_params(self) -> int:
        """Weights of the linear layers in all blocks, biases aside."""
        return sum(self.arch.dim(index) * (block.num_heads * 2 * (block.qk_dim + block.v_dim) + 2 * block.ffn_dim)
                   for index, block in enumerate(self.blocks))

    @classmethod
    def dense(cls, arch: str | Arch | Mapping[str, Any]) -> 'Spec':
        """The spec of the dense model: no merges, full widths."""
        return make_spec(arch)

    @cached_property
    def placed(self) -> dict[int, Merge]:
        """The merges by the number of the block that they stand before, in order."""
        return {self.arch.block_index(merge.block): merge for merge in self.merges}

    def merge_before(self, block: int) -> Merge | None:
        """The merge in front of block number ``block``, if there is one."""
        return self.placed.get(block)

    @cached_property
    def reducer(self) -> TokenReducer:
        """What reduces the tokens: ``tokens``, or ATME with the merges."""
        return self.tokens or ATME({block: merge.kind for block, merge in self.placed.items()})

    def grids(self, img_size: tuple[int, int] | None = None) -> list[Grid]:
        """The token grid (H, W) inside each block for an image of ``img_size`` pixels."""
        return self.reducer.grids(self.arch, self.arch.grid(img_size))

    def replace(self, **changes: Any) -> 'Spec':
        """A copy with ``changes``, validated like a new one."""
        return replace(self, **changes)

    def weighted(self) -> 'Spec':
        """A copy whose merges are weighted (:mod:`~cait_mm.ops.token_merge`), those with a convolution aside."""
        kinds = {kind: f'{kind}{WEIGHTED}' for kind in MERGE_KINDS if f'{kind}{WEIGHTED}' in MERGE_KINDS}
        return self.replace(merges=tuple(merge._replace(kind=kinds.get(merge.kind, merge.kind))
                                         for merge in self.merges))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as in ``meta['cait_spec']`` of a compressed checkpoint."""
        return {
            'version': SPEC_VERSION,
            'arch': self.arch.to_dict(),
            'merges': [[merge.block, merge.kind] for merge in self.merges],
            'blocks': [asdict(block) for block in self.blocks],
            **({} if self.tokens is None else {'tokens': self.tokens.to_dict()}),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> 'Spec':
        """Read :meth:`to_dict`'s form.

        Raises:
            UserError: It is no spec, has an unknown version, or describes something impossible.
        """
        if not isinstance(data, Mapping) or 'version' not in data:
            raise UserError('this is not a cait_mm spec: it has no "version".')
        version = data['version']
        if type(version) is not int or version != SPEC_VERSION:
            raise UserError(f'spec version {shown(version)} is unknown to this cait_mm, which reads version '
                            f'{SPEC_VERSION}: update cait_mm.')
        keys, widths = ('version', 'arch', 'merges', 'blocks'), [field.name for field in fields(BlockSpec)]
        check_keys('spec', data, (*keys, 'tokens'), keys)
        if not isinstance(data['blocks'], (list, tuple)):
            raise UserError(f'spec blocks={shown(data["blocks"])} is no list.')
        for block in data['blocks'][:MOST_BLOCKS + 1]:
            check_keys('spec block', block, widths, widths)
        return cls(get_arch(data['arch']), as_merges(data['merges']),
                   tuple(BlockSpec(**block) for block in data['blocks']), as_reducer(data.get('tokens')))

    @classmethod
    def from_json(cls, text: str) -> 'Spec':
        try:
            data = json.loads(text)
        except RecursionError:
            raise UserError('this is not a cait_mm spec: its brackets are nested too deep.') from None
        except ValueError as error:  # no JSON, or a number of thousands of digits
            raise UserError(f'this is not a cait_mm spec: {reason_of(error)}.') from None
        return cls.from_dict(data)

    @classmethod
    def from_file(cls, path: str | Path) -> 'Spec':
        """Read a JSON file.

        Raises:
            UserError: It is missing or no spec; the message names the file.
        """
        if not os.path.isfile(path):
            raise UserError(f'spec file {path} does not exist.')
        try:
            return cls.from_json(Path(path).read_text(encoding='utf-8-sig'))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f'spec file {path} cannot be read ({reason_of(error)}): give a spec as JSON.') from error
        except UserError as error:
            raise UserError(f'spec file {path}: {error}') from error


Widths = None | int | Sequence[int]


def make_spec(arch: str | Arch | Mapping[str, Any],
              merge: Sequence[tuple[int, str]] = (),
              qk_dim: Widths = None,
              v_dim: Widths = None,
              ffn_dim: Widths = None,
              tokens: None | TokenReducer | Mapping[str, Any] = None,
              family: str = 'deit') -> Spec:
    """Write down a spec.

    Args:
        arch: A name from :data:`~cait_mm.arch.ARCHS`, an :class:`~cait_mm.arch.Arch`, or its fields as a dict.
        merge: ``((block, kind), ...)``; Swin's blocks are written ``'stage.block'``.
        qk_dim, v_dim, ffn_dim: One width for all blocks or one per block; None is the dense width.
        tokens: Instead of merges: another token reducer, or its dict (:mod:`cait_mm.tokens`).
        family: The family of an architecture that is given as a dict without one.

    Raises:
        UserError: A name, merge or width is impossible.
    """
    arch = get_arch(arch, family)
    dense = [arch.dense_block(block) for block in range(arch.depth)]

    def widths(name: str, value: Widths) -> list[int]:
        if value is None:
            return [getattr(block, name) for block in dense]
        if not isinstance(value, (int, range)):
            check_sequence(name, value, f'[64, 48, ...] of {arch.depth} widths, or one width')
        value = [value] * arch.depth if isinstance(value, int) else list(value)
        if len(value) != arch.depth:
            raise UserError(f'{name} has {len(value)} widths, {arch.name} has {arch.depth} blocks.')
        return value

    blocks = zip(dense, widths('qk_dim', qk_dim), widths('v_dim', v_dim), widths('ffn_dim', ffn_dim))
    return Spec(arch, as_merges(merge),
                tuple(replace(block, qk_dim=qk, v_dim=v, ffn_dim=ffn) for block, qk, v, ffn in blocks),
                as_reducer(tokens))


def as_merges(merges: Sequence[Sequence[Any]]) -> tuple[Merge, ...]:
    """``[[block, kind], ...]`` as :class:`Merge` tuples."""
    if isinstance(merges, str):
        raise UserError(f'merge={shown(merges)} is a string: write ((4, "horizontal"), ...).')
    try:
        return tuple(Merge(block, kind) for block, kind in merges)
    except (TypeError, ValueError):
        raise UserError(f'merge={shown(merges)} is not a list of (block, kind) pairs.') from None


def _checked_merges(arch: Arch, merges: Sequence[Merge]) -> tuple[Merge, ...]:
    """``merges`` in the order of their blocks; raises if one is impossible."""
    by_block: dict[int, Merge] = {}
    for merge in merges:
        if merge.kind not in MERGE_KINDS:
            raise UserError(f'merge {merge}: unknown kind {shown(merge.kind)}; use one of {", ".join(MERGE_KINDS)}.')
        try:
            block = arch.block_index(merge.block)
        except UserError as error:
            raise UserError(f'merge {merge}: {error}') from None
        if block in by_block:
            raise UserError(f'merge {merge}: block {merge.block} already has a merge.')
        by_block[block] = merge
    grid = arch.grid()
    for block in range(arch.depth):
        grid, merge = arch.enter(block, grid), by_block.get(block)
        if merge is None:
            continue
        merged = merged_grid(merge.kind, grid)
        if merged[0] * merged[1] >= grid[0] * grid[1]:
            raise UserError(f'merge {merge}: the grid there is {grid[0]}x{grid[1]}, too small to merge that way.')
        if min(merged) < arch.least_side:
            raise UserError(f'merge {merge}: it would leave a grid of {merged[0]}x{merged[1]}, and {arch.name} needs '
                            f'{arch.least_side} tokens or more on each side.')
        grid = merged
    return tuple(by_block[block] for block in sorted(by_block))


def _check_blocks(arch: Arch, blocks: Sequence[BlockSpec]) -> None:
    if len(blocks) != arch.depth:
        raise UserError(f'the spec has {len(blocks)} blocks, {arch.name} has {arch.depth}.')
    for index, block in enumerate(blocks):
        dense, name = arch.dense_block(index), arch.block_name(index)
        # A fold may zero-pad a head to a multiple of 8 for the fused kernels, beyond a dense width that is none.
        padded = -(-dense.head_dim // 8) * 8
        limits = {'num_heads': dense.num_heads, 'qk_dim': padded, 'v_dim': padded, 'ffn_dim': dense.ffn_dim}
        for field, limit in limits.items():
            width = getattr(block, field)
            check_positive_int(f'block {name}: {field}', width)
            if width > limit:
                raise UserError(f'block {name}: {field}={width} is more than the dense {limit} of {arch.name}.')
        check_positive_int(f'block {name}: head_dim', block.head_dim)
        if block.head_dim != dense.head_dim:
            raise UserError(f'block {name}: head_dim={block.head_dim}, {arch.name} has a dense head_dim of '
                            f'{dense.head_dim}.')
