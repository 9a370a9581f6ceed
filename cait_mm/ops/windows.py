"""Attention in windows of a token grid (Swin), on grids of any size.

On each axis the window is ``min(window_size, side)``; an axis that fits into one window is not shifted. Thus merged
grids and small images get smaller windows, whose relative positions are a part of the full table.
"""
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.ops.attention import Attention
from cait_mm.ops.offsets import grid_places, offset_rows
from cait_mm.ops.token_merge import Grid


def _kept(size: int) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Keep the last ``size`` results of a function of plain values.

    Results may be needed in training later, so they are computed outside of inference mode. Under torch.compile and
    torch.export they are no real tensors and are not kept.
    """
    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        kept = lru_cache(maxsize=size)(torch.inference_mode(False)(function))

        @wraps(function)
        def call(*args: Any) -> Tensor:
            return function(*args) if torch.compiler.is_compiling() else kept(*args)

        return call

    return decorate


WINDOW_RULES = ('fitted', 'mm')
"""See :class:`~cait_mm.arch.swin.SwinArch`."""


def window_of(grid: Grid, window_size: int, rule: str = 'fitted') -> Grid:
    """The window (H, W) on ``grid``; by OpenMMLab's rule ``mm`` it has one size on every grid."""
    if rule == 'mm':
        return window_size, window_size
    return min(window_size, grid[0]), min(window_size, grid[1])


def window_count(grid: Grid, window: Grid) -> int:
    """Windows that cover ``grid``, padding included."""
    return -(-grid[0] // window[0]) * -(-grid[1] // window[1])


def shift_of(grid: Grid, window: Grid, rule: str = 'fitted') -> Grid:
    """The shift of the grid in a shifted block: half a window, or 0 on an axis of one ``fitted`` window."""
    return tuple(0 if rule == 'fitted' and side <= length else length // 2 for side, length in zip(grid, window))


def partition(x: Tensor, window: Grid) -> Tensor:
    """(B, H, W, C) -> (B * windows, h * w, C); H and W are multiples of the window's (h, w)."""
    batch, height, width, dim = x.shape
    x = x.view(batch, height // window[0], window[0], width // window[1], window[1], dim)
    return x.transpose(2, 3).reshape(-1, window[0] * window[1], dim)


def unpartition(x: Tensor, window: Grid, grid: Grid) -> Tensor:
    """The inverse of :func:`partition`: (B * windows, h * w, C) -> (B, H, W, C) for ``grid`` (H, W)."""
    rows, columns = grid[0] // window[0], grid[1] // window[1]
    x = x.view(-1, rows, columns, *window, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, *grid, x.shape[-1])


@_kept(64)
def relative_index(window: Grid, table_window: int, device: torch.device | None = None) -> Tensor:
    """Where each pair of a window's tokens finds its offset in the table of a window of side ``table_window``.

    Returns:
        (h * w, h * w), rows of a table ``((2 * table_window - 1)**2, heads)``. An offset is in the same row whatever
        the window, so that a smaller window reads a part of the full table.
    """
    return offset_rows(grid_places(window, device), (table_window, table_window), has_cls=False)


@_kept(16)
def shift_mask(grid: Grid, window: Grid, shift: Grid, device: torch.device | None = None) -> Tensor:
    """Which tokens of a window of the shifted grid were neighbours before: (windows, h * w, h * w), 0 or -inf.

    Args:
        grid: (H, W), multiples of the window's sides.
    """
    def parts(side: int, length: int, moved: int) -> Tensor:
        part = torch.zeros(side, device=device)
        if moved:
            part[side - length:side - moved], part[side - moved:] = 1, 2
        return part

    rows, columns = (parts(*axis) for axis in zip(grid, window, shift))
    regions = partition((3 * rows[:, None] + columns)[None, :, :, None], window)[..., 0]
    return torch.zeros(1, device=device).masked_fill(regions[:, None] != regions[:, :, None], -torch.inf)


@_kept(16)
def wider_windows(grid: Grid, window: Grid, margin: int, device: torch.device | None = None) -> Tensor:
    """Which tokens of a map on ``grid`` (H, W) are in windows of ``margin`` more rows and columns than ``window`` (h,
    w), of which as many lie next to each other as cover the map. The middle of a window is as near to that of its part
    of the map as can be inside.

    Returns:
        (windows, h' * w'), indices into H * W; h' is ``min(h + margin, H)``.
    """
    def places(side: int, length: int) -> Tensor:
        count, length = -(-side // length), min(length + margin, side)
        starts = [-((count - (2 * index + 1) * side + count * length) // (2 * count)) for index in range(count)]
        starts = torch.tensor([min(max(start, 0), side - length) for start in starts], device=device)
        return starts[:, None] + torch.arange(length, device=device)

    rows, columns = (places(*axis) for axis in zip(grid, window))
    return (rows[:, None, :, None] * grid[1] + columns[None, :, None, :]).flatten(2).flatten(0, 1)


class WindowAttention(Attention):
    """Multi-head self-attention within windows, with a bias by relative position for each head.

    State-dict names are those of Swin and timm.

    Args:
        dim, num_heads, qk_dim, v_dim, head_dim, qkv_bias: As in :class:`~cait_mm.ops.attention.Attention`.
        window_size: The largest side of a window; it also sets the size of the bias table.
        shifted: Whether windows are shifted by half their side.
        rule: See :class:`~cait_mm.arch.swin.SwinArch`.
    """

    def __init__(self, dim: int, num_heads: int, qk_dim: int, v_dim: int, head_dim: int, qkv_bias: bool = True,
                 window_size: int = 7, shifted: bool = False, rule: str = 'fitted') -> None:
        super().__init__(dim, num_heads, qk_dim, v_dim, head_dim, qkv_bias)
        self.window_size, self.shifted, self.rule = window_size, shifted, rule
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1)**2, num_heads))

    def position_bias(self, window: Grid) -> Tensor:
        """(1, heads, h * w, h * w) for a window (h, w)."""
        table = self.relative_position_bias_table
        return table[relative_index(window, self.window_size, table.device)].permute(2, 0, 1)[None]

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, H * W, C) on ``grid`` (H, W) -> (B, H * W, C)."""
        batch, window = x.shape[0], window_of(grid, self.window_size, self.rule)
        bias = self.position_bias(window)
        shift = shift_of(grid, window, self.rule) if self.shifted else (0, 0)
        if grid == window and not any(shift):
            return super().forward(x, bias)
        padded = tuple(-(-side // length) * length for side, length in zip(grid, window))
        x = x.unflatten(1, grid)
        if padded != grid:
            x = F.pad(x, (0, 0, 0, padded[1] - grid[1], 0, padded[0] - grid[0]))
        if any(shift):
            x = x.roll((-shift[0], -shift[1]), (1, 2))
            mask = shift_mask(padded, window, shift, bias.device)
            bias = (bias + mask[:, None].to(bias)).repeat(batch, 1, 1, 1)
        x = unpartition(super().forward(partition(x, window), bias), window, padded)
        if any(shift):
            x = x.roll(shift, (1, 2))
        return x[:, :grid[0], :grid[1]].flatten(1, 2)
