"""Which patches each token of an image stands for, after every step that makes tokens fewer."""
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cait_mm.models import Backbone
from cait_mm.ops.token_merge import Grid, restore
from cait_mm.spec import Spec

DROPPED = -1
"""The owner of a patch whose token was dropped."""


class Stage(NamedTuple):
    """The tokens from one step on."""

    title: str
    block: int
    """The first block whose attention sees them; one behind the last if none does."""
    owners: Tensor
    """(H, W): the number of the token that stands for each patch, or :data:`DROPPED`."""
    count: int
    grid: Grid | None
    """The grid (H, W) that they lie on; None where they lie on none."""


def stages(backbone: Backbone, image: Tensor) -> list[Stage]:
    """The tokens of ``image`` (1, C, H, W), normalised, from the patches to the last block."""
    depth, size = len(backbone.flat_blocks()), tuple(image.shape[-2:])
    found = grid_stages(backbone.spec, size, depth)
    return found if backbone.spec.tokens is None else [found[0], *_scattered(backbone, image)]


def grid_stages(spec: Spec, img_size: tuple[int, int], depth: int | None = None) -> list[Stage]:
    """The tokens that lie on a grid, for images of ``img_size`` pixels (H, W), up to block number ``depth``."""
    full = grid = spec.arch.grid(img_size)
    found = [_on_grid('the patches of the image', 0, grid, full)]
    for block, inside in enumerate(spec.grids(img_size)[:depth]):
        before, entered = f'before block {spec.arch.block_name(block)}', spec.arch.enter(block, grid)
        if entered != grid:
            found.append(_on_grid(f'{before}: the dense model, too, joins 2x2 tokens here', block, entered, full))
        merge = spec.merge_before(block)
        if merge is not None:
            kind = merge.kind.replace('_', ' ')
            found.append(_on_grid(f'{before}: {kind} merge', block, inside, full))
        grid = inside
    return found


def owners_at(found: list[Stage], block: int) -> Stage:
    """The stage whose tokens the attention of ``block`` sees."""
    return [stage for stage in found if stage.block <= block][-1]


def _on_grid(title: str, block: int, grid: Grid, full: Grid) -> Stage:
    numbers = torch.arange(grid[0] * grid[1]).view(1, 1, *grid)
    return Stage(title, block, restore(numbers, full)[0, 0], grid[0] * grid[1], grid)


@torch.no_grad()
def _scattered(backbone: Backbone, image: Tensor) -> Iterator[Stage]:
    """The tokens behind every block that a reducer has changed, from its record of where patches went."""
    last, name = None, type(backbone.spec.tokens).__name__
    for block, tokens in enumerate(backbone._stream(image)):
        if tokens.record is None or tokens.x.shape[1] == last:
            continue
        last, owners = tokens.x.shape[1], tokens.record.source[0] - tokens.prefix
        if tokens.record.stands is not None:
            owners = torch.where(tokens.record.stands[0], owners, DROPPED)
        yield Stage(f'in block {backbone.arch.block_name(block)}: {name}', block + 1, owners.view(tokens.size),
                    last - tokens.prefix, None)
