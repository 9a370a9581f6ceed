"""Positions on other grids: the grid of a checkpoint's embedding, resampling, and the bias tables of Swin."""
import math

import torch
import torch.nn.functional as F
from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.ops.offsets import CLS_ROWS, resize_table, table_rows
from cait_mm.ops.token_merge import Grid


def resize_pos_embed(pos_embed: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
    """Resample a positional embedding bicubically to another grid; a CLS entry in front is kept.

    Args:
        pos_embed: (1, N, C) with N = old H * W, or one more where CLS comes first.
        old_grid: The grid (H, W) it was trained on.
        new_grid: The grid (H, W) it is needed on.
    """
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    extra = pos_embed.shape[1] - old_grid[0] * old_grid[1]
    cls, grid = pos_embed[:, :extra], pos_embed[:, extra:]
    maps = grid.transpose(1, 2).unflatten(2, tuple(old_grid)).float()
    maps = F.interpolate(maps, size=tuple(new_grid), mode='bicubic', align_corners=False)
    return torch.cat([cls, maps.flatten(2).transpose(1, 2).to(pos_embed.dtype)], dim=1)


def grid_of(positions: int, stated: Grid | None, pretraining: Grid, wanted: Grid) -> Grid:
    """The grid that a checkpoint's ``positions`` patches lie on.

    The number alone does not tell: 576 patches are 24x24 or 18x32. The first that has as many is taken, in this order:

    Args:
        positions: Patches in the checkpoint, without CLS.
        stated: The grid stated in the file, if any; files of this project state it.
        pretraining: The grid of the architecture's ``img_size``, which a config may set to that of the file.
        wanted: The grid of the model. It comes after the square one, because files that state none are square.

    Raises:
        UserError: No grid has as many.
    """
    side = math.isqrt(positions)
    for grid in (stated, pretraining, (side, side), wanted):
        if grid and grid[0] * grid[1] == positions:
            return tuple(grid)
    raise UserError(f'the checkpoint\'s pos_embed has {positions} positions, which is no square: state the image size '
                    'it was trained at with arch=dict(..., img_size=(H, W)).')


def window_of_offsets(rows: int, stated: Grid | None, pretraining: Grid, wanted: Grid) -> Grid | None:
    """The window of a table of offsets with ``rows`` rows, as :func:`grid_of` finds a grid; None if there is none."""
    side = (math.isqrt(max(rows - CLS_ROWS, 0)) + 1) // 2
    return next((tuple(grid) for grid in (stated, pretraining, (side, side), wanted)
                 if grid and table_rows(grid) == rows), None)


def fit_offsets(table: Tensor, window: Grid, other: Grid) -> Tensor:
    """A checkpoint's table of offsets (rows, heads) for another window, as BEiT's authors resample theirs: near offsets
    stay, far ones move apart. They have square windows; others are resampled evenly.
    """
    if window == other or window[0] != window[1]:
        return resize_table(table, window, other)
    return resize_rel_pos_bias_table(table, other, (table_rows(other), table.shape[1]))


def widen_bias_table(table: Tensor, window: int) -> Tensor:
    """Put a table of a smaller window into the middle of one of side ``window``, where the same offsets stand.

    Offsets that the smaller window does not have get the value of the nearest one. A window of the old size reads the
    same values as before.
    """
    border = (2 * window - 1 - round(table.shape[0]**.5)) // 2
    maps = F.pad(_as_maps(table).float(), (border,) * 4, mode='replicate')
    return maps.flatten(2)[0].T.to(table.dtype)


def window_of_table(table: Tensor) -> int | None:
    """The side of the square window of a table (rows, heads); None if there is no such window."""
    window = (math.isqrt(table.shape[0]) + 1) // 2 if table.dim() == 2 else 0
    return window if window and (2 * window - 1)**2 == table.shape[0] else None


def _as_maps(table: Tensor) -> Tensor:
    """(rows, heads) -> (1, heads, side, side)."""
    side = round(table.shape[0]**.5)
    return table.T.reshape(1, table.shape[1], side, side)
