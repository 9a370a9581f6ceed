"""Biases of attention that depend on the offset between two patches (BEiT), for merged tokens too.

A table has a row for every offset between two patches of its window, row by row, and in BEiT three rows more: from CLS
to a patch, from a patch to CLS, from CLS to itself. A merged token stands at the first of its patches: offsets between
merged tokens are then offsets between patches, which the table has.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from cait_mm.ops.token_merge import Grid, fused_tokens, group_tokens

CLS_ROWS = 3
"""Rows of a table behind those of the offsets."""


def table_rows(window: Grid) -> int:
    """The rows of a table for a window (H, W)."""
    return (2 * window[0] - 1) * (2 * window[1] - 1) + CLS_ROWS


def grid_places(grid: Grid, device: torch.device | None = None) -> Tensor:
    """The row and column of every patch of a grid (H, W), in raster order: (1, H * W, 2)."""
    sides = (torch.arange(side, device=device) for side in grid)
    return torch.stack(torch.meshgrid(*sides, indexing='ij'), -1).flatten(0, 1)[None]


def merged_offsets(places: Tensor, grid: Grid, kind: str) -> Tensor:
    """The places (1, N', 2) behind a merge of ``kind``: the first row and column of those that it fuses."""
    return group_tokens(places, grid, kind).unflatten(-1, (fused_tokens(kind), 2)).amin(-2)


def offset_rows(places: Tensor, window: Grid, has_cls: bool) -> Tensor:
    """Which row of a table serves every pair of tokens: (N, N), or one more where CLS comes first.

    Args:
        places: (1, N, 2), inside the window.
        window: The table's (H, W).
        has_cls: Whether CLS stands in front of the tokens.
    """
    (height, width), tokens = window, places[0]
    away = tokens[:, None] - tokens[None] + places.new_tensor([height - 1, width - 1])
    rows = away[..., 0] * (2 * width - 1) + away[..., 1]
    if not has_cls:
        return rows
    last = table_rows(window)
    first = F.pad(rows.new_full((1, len(rows)), last - 3), (1, 0), value=last - 1)
    return torch.cat([first, F.pad(rows, (1, 0), value=last - 2)])


def resample_offsets(table: Tensor, window: Grid, other: Grid) -> Tensor:
    """A table without rows of CLS (rows, heads), bicubically resampled from a window to another."""
    maps = table.T.unflatten(1, (2 * window[0] - 1, 2 * window[1] - 1))[None]
    maps = F.interpolate(maps.float(), size=(2 * other[0] - 1, 2 * other[1] - 1), mode='bicubic', align_corners=False)
    return maps[0].flatten(1).T.to(table.dtype)


def resize_table(table: Tensor, window: Grid, other: Grid) -> Tensor:
    """A table (rows, heads) for another window: its offsets are resampled, the rows of CLS stay."""
    if window == other:
        return table
    return torch.cat([resample_offsets(table[:-CLS_ROWS], window, other), table[-CLS_ROWS:]])
