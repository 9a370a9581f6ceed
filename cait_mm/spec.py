"""What a compressed ViT is: its dense architecture, its merges and the widths of every block.

A :class:`Spec` is the contract between all stages. Compression writes one, an export carries one, a backbone is built
from one, and the MACs follow from one. It is frozen, plain data, and has a versioned JSON form.

Block indices are 0-based, as ``out_indices`` are; the paper counts blocks from 1.
"""
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from cait_mm.errors import UserError
from cait_mm.ops.token_merge import MERGE_KINDS, Grid, merged_grid

SPEC_VERSION = 1


def _check_positive_int(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f'{name}={value!r} must be a positive whole number.')


def _check_keys(what: str, data: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = [key for key in data if key not in known]
    if unknown:
        raise UserError(f'{what} has unknown keys {", ".join(map(str, unknown))}; it knows {", ".join(known)}.')


@dataclass(frozen=True)
class Arch:
    """A dense DeiT. ``img_size`` (H, W) in pixels is the size it was pretrained at and fixes the pos_embed grid."""

    name: str
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float = 4.0
    patch_size: int = 16
    img_size: Tuple[int, int] = (224, 224)

    def __post_init__(self) -> None:
        size = self.img_size
        object.__setattr__(self, 'img_size', (size, size) if isinstance(size, int) else tuple(size))
        for field in ('embed_dim', 'depth', 'num_heads', 'patch_size'):
            _check_positive_int(f'arch {field}', getattr(self, field))
        if self.embed_dim % self.num_heads:
            raise UserError(f'arch embed_dim={self.embed_dim} is not divisible by num_heads={self.num_heads}.')
        if any(side < self.patch_size for side in self.img_size):
            raise UserError(f'arch img_size={self.img_size} is smaller than one patch of {self.patch_size} pixels.')

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def ffn_dim(self) -> int:
        return int(self.embed_dim * self.mlp_ratio)

    def grid(self, img_size: Optional[Tuple[int, int]] = None) -> Grid:
        """The token grid (H, W) of an image of ``img_size`` pixels; partial patches are padded to whole ones."""
        height, width = img_size or self.img_size
        return -(-height // self.patch_size), -(-width // self.patch_size)


ARCHS: Dict[str, Arch] = {
    'deit_tiny': Arch('deit_tiny', 192, 12, 3),
    'deit_small': Arch('deit_small', 384, 12, 6),
    'deit_base': Arch('deit_base', 768, 12, 12),
}


class Merge(NamedTuple):
    """A merge of ``kind`` (:data:`~cait_mm.ops.token_merge.MERGE_KINDS`) before block ``block`` (0-based)."""

    block: int
    kind: str

    def __str__(self) -> str:
        return f'{self.block}:{self.kind}'


@dataclass(frozen=True)
class BlockSpec:
    """Widths of one block: ``qk_dim`` and ``v_dim`` per head, ``ffn_dim`` in all.

    ``head_dim`` is the dense width per head: it fixes the softmax scale, however narrow the block becomes.
    """

    num_heads: int
    qk_dim: int
    v_dim: int
    ffn_dim: int
    head_dim: int


@dataclass(frozen=True)
class Spec:
    """A compressed ViT as data. Use :func:`make_spec` to write one down and :meth:`from_dict` to read one."""

    arch: Arch
    merges: Tuple[Merge, ...]
    blocks: Tuple[BlockSpec, ...]

    def __post_init__(self) -> None:
        _check_merges(self.arch, self.merges)
        _check_blocks(self.arch, self.blocks)

    @property
    def is_dense(self) -> bool:
        """Whether nothing is merged and nothing is cut."""
        return self == Spec.dense(self.arch)

    @property
    def is_pruned(self) -> bool:
        """Whether channels were cut, merged or not."""
        return self.blocks != Spec.dense(self.arch).blocks

    @classmethod
    def dense(cls, arch: Union[str, Arch, Mapping[str, Any]]) -> 'Spec':
        """The spec of the dense model: no merges, full widths."""
        return make_spec(arch)

    def merge_before(self, block: int) -> Optional[Merge]:
        """The merge in front of ``block``, if there is one."""
        return next((merge for merge in self.merges if merge.block == block), None)

    def grids(self, img_size: Optional[Tuple[int, int]] = None) -> List[Grid]:
        """The token grid (H, W) inside each block for an image of ``img_size`` pixels."""
        grid, grids = self.arch.grid(img_size), []
        for block in range(self.arch.depth):
            merge = self.merge_before(block)
            if merge:
                grid = merged_grid(merge.kind, grid)
            grids.append(grid)
        return grids

    def replace(self, **changes: Any) -> 'Spec':
        """A copy with ``changes``, validated like a new one."""
        return replace(self, **changes)

    def to_dict(self) -> Dict[str, Any]:
        """Plain JSON types, as an export's ``meta['cait_spec']`` holds them."""
        return {
            'version': SPEC_VERSION,
            'arch': {**asdict(self.arch), 'img_size': list(self.arch.img_size)},
            'merges': [[merge.block, merge.kind] for merge in self.merges],
            'blocks': [asdict(block) for block in self.blocks],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> 'Spec':
        """Read :meth:`to_dict`'s form.

        Raises:
            UserError: It is no spec, of a version this package does not know, or describes something impossible.
        """
        if not isinstance(data, Mapping) or 'version' not in data:
            raise UserError('this is not a cait_mm spec: it has no "version".')
        if data['version'] != SPEC_VERSION:
            raise UserError(f'spec version {data["version"]} is unknown to this cait_mm, which reads version '
                            f'{SPEC_VERSION}: update cait_mm.')
        _check_keys('spec', data, ('version', 'arch', 'merges', 'blocks'))
        _check_keys('spec arch', data['arch'], [field.name for field in fields(Arch)])
        for block in data['blocks']:
            _check_keys('spec block', block, [field.name for field in fields(BlockSpec)])
        return cls(Arch(**data['arch']), as_merges(data['merges']),
                   tuple(BlockSpec(**block) for block in data['blocks']))

    @classmethod
    def from_json(cls, text: str) -> 'Spec':
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(f'this is not a cait_mm spec: {error}.') from None


Widths = Union[None, int, Sequence[int]]


def make_spec(arch: Union[str, Arch, Mapping[str, Any]],
              merge: Sequence[Tuple[int, str]] = (),
              qk_dim: Widths = None,
              v_dim: Widths = None,
              ffn_dim: Widths = None) -> Spec:
    """Write down a spec.

    Args:
        arch: A name from :data:`ARCHS`, an :class:`Arch`, or its fields as a dict.
        merge: ``((block, kind), ...)``.
        qk_dim, v_dim, ffn_dim: One width for all blocks or one per block; None is the dense width.

    Raises:
        UserError: A name, merge or width is impossible.
    """
    arch = get_arch(arch)

    def widths(name: str, value: Widths, dense: int) -> List[int]:
        value = dense if value is None else value
        value = [value] * arch.depth if isinstance(value, int) else list(value)
        if len(value) != arch.depth:
            raise UserError(f'{name} has {len(value)} widths, {arch.name} has {arch.depth} blocks.')
        return value

    blocks = zip(widths('qk_dim', qk_dim, arch.head_dim), widths('v_dim', v_dim, arch.head_dim),
                 widths('ffn_dim', ffn_dim, arch.ffn_dim))
    return Spec(arch, as_merges(merge),
                tuple(BlockSpec(arch.num_heads, qk, v, ffn, arch.head_dim) for qk, v, ffn in blocks))


def get_arch(arch: Union[str, Arch, Mapping[str, Any]]) -> Arch:
    """An :class:`Arch` from its name, its fields or itself."""
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise UserError(f'unknown architecture {arch!r}: use one of {", ".join(ARCHS)}, or a dict of '
                            'embed_dim, depth and num_heads.')
        return ARCHS[arch]
    arch = {'name': 'custom', **arch}
    missing = [name for name in ('embed_dim', 'depth', 'num_heads') if name not in arch]
    if missing:
        raise UserError(f'arch lacks {", ".join(missing)}: a free architecture needs embed_dim, depth and num_heads.')
    _check_keys('arch', arch, [field.name for field in fields(Arch)])
    return Arch(**arch)


def as_merges(merges: Sequence[Sequence[Any]]) -> Tuple[Merge, ...]:
    """``[[block, kind], ...]`` as :class:`Merge` tuples, in the order of their blocks."""
    if isinstance(merges, str):
        raise UserError(f'merge={merges!r} is a string: write (({merges.split(":")[0] or 4}, "horizontal"), ...).')
    try:
        return tuple(sorted(Merge(block, kind) for block, kind in merges))
    except (TypeError, ValueError):
        raise UserError(f'merge={merges!r} is not a list of (block, kind) pairs.') from None


def parse_merges(text: str) -> Tuple[Merge, ...]:
    """Read the command line's ``4:horizontal,7:vertical``; an empty text is no merge."""
    merges = []
    for part in filter(None, text.split(',')):
        block, _, kind = part.partition(':')
        if not block.strip().isdigit():
            raise UserError(f'--merge {part!r}: write BLOCK:KIND, for example 4:horizontal.')
        merges.append((int(block), kind.strip()))
    return as_merges(merges)


def _check_merges(arch: Arch, merges: Sequence[Merge]) -> None:
    grid, seen = arch.grid(), set()
    for merge in merges:
        if merge.kind not in MERGE_KINDS:
            raise UserError(f'merge {merge}: unknown kind {merge.kind!r}; use one of {", ".join(MERGE_KINDS)}.')
        if isinstance(merge.block, bool) or not isinstance(merge.block, int) or not 0 <= merge.block < arch.depth:
            raise UserError(f'merge {merge}: {arch.name} has blocks 0 to {arch.depth - 1}.')
        if merge.block in seen:
            raise UserError(f'merge {merge}: block {merge.block} already has a merge.')
        seen.add(merge.block)
        merged = merged_grid(merge.kind, grid)
        if merged[0] * merged[1] >= grid[0] * grid[1]:
            raise UserError(f'merge {merge}: the grid there is {grid[0]}x{grid[1]}, too small to merge that way.')
        grid = merged


def _check_blocks(arch: Arch, blocks: Sequence[BlockSpec]) -> None:
    if len(blocks) != arch.depth:
        raise UserError(f'the spec has {len(blocks)} blocks, {arch.name} has {arch.depth}.')
    # An export may zero-pad a head to a multiple of 8 for the fused kernels, beyond a dense width that is none.
    padded_head = -(-arch.head_dim // 8) * 8
    for index, block in enumerate(blocks):
        limits = {'num_heads': arch.num_heads, 'qk_dim': padded_head, 'v_dim': padded_head, 'ffn_dim': arch.ffn_dim}
        for name, limit in limits.items():
            width = getattr(block, name)
            _check_positive_int(f'block {index}: {name}', width)
            if width > limit:
                raise UserError(f'block {index}: {name}={width} is more than the dense {limit} of {arch.name}.')
        if block.head_dim != arch.head_dim:
            raise UserError(f'block {index}: head_dim={block.head_dim}, {arch.name} has a dense head_dim of '
                            f'{arch.head_dim}.')
