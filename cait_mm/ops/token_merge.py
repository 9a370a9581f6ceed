"""Asymmetric token merging (ATME, paper section III-B): merge neighbouring tokens of a grid, and restore the grid.

Tokens are ``(B, H * W, C)`` in raster order and never contain CLS. A merge concatenates neighbours along the channels
and fuses them with one linear layer; the grid stays a grid, so a feature map can always be restored.

==================  =========================================  ===============
kind                fuses                                      in the paper
==================  =========================================  ===============
``horizontal``      2 neighbours along W, 2C -> C              HTM
``vertical``        2 neighbours along H, 2C -> C              VTM
``symmetric``       a 2x2 patch at once, 4C -> C               ablation, Tab. X
``diagonal``        the 2 diagonals of a 2x2 patch, 2C -> C    ablation, Tab. X
``horizontal_conv`` horizontal, then a depthwise 3x3           ATME+Conv, Tab. XIII
``vertical_conv``   vertical, then a depthwise 3x3             ATME+Conv, Tab. XIII
==================  =========================================  ===============

With ``_weighted`` behind its name (``horizontal_weighted``, ...) a merge weighs the tokens that it fuses: the further
a token is from the mean of its image's tokens, the more it counts. A plain mean blurs an object's token with the wall
next to it, which costs accuracy if no training follows. A merged token then also counts in attention as often as
it has patches, as in ToMe. Neither is in the paper.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]

RESTORE_MODES = ('nearest', 'bilinear', 'residual', 'residual_bilinear', 'residual_linear')
"""How maps are restored. Every position takes its merged token, or a mixture of the nearest ones. ``residual`` and
``residual_bilinear`` add the difference that merges made to every patch: blocks only add to tokens, so it stays.
``residual_linear`` is ``residual_bilinear`` with a linear layer on the difference.
"""


def keeps_differences(mode: str) -> bool:
    """Whether ``mode`` adds what merges took from every patch."""
    return mode.startswith('residual')


def interpolation(mode: str) -> str:
    """How ``mode`` spreads merged tokens over the patches: ``nearest`` or ``bilinear``."""
    return 'nearest' if mode in ('nearest', 'residual') else 'bilinear'


LEAST_DISTANCE = 1e-6
"""The smallest distance: if all tokens are equal, so are their weights."""
WEIGHTED = '_weighted'
MERGE_KINDS = ('horizontal', 'vertical', 'symmetric', 'diagonal', 'horizontal_conv', 'vertical_conv',
               *(f'{kind}{WEIGHTED}' for kind in ('horizontal', 'vertical', 'symmetric', 'diagonal')))
START_POWER = 8.
"""The power that weighted merges start with (docs/benchmarks.md#without-training)."""


def fused_tokens(kind: str) -> int:
    """How many tokens one output token of ``kind`` is fused from: 4 for ``symmetric``, else 2."""
    return 4 if kind.startswith('symmetric') else 2


def is_weighted(kind: str) -> bool:
    """Whether the tokens that ``kind`` fuses are weighted by their distance from the mean token."""
    return kind.endswith(WEIGHTED)


def has_conv(kind: str) -> bool:
    """Whether a depthwise 3x3 convolution follows the merge."""
    return kind.endswith('_conv')


def _even(side: int) -> int:
    return side + side % 2


def padded_grid(kind: str, grid: Grid) -> Grid:
    """The grid after odd sides that ``kind`` divides were padded by one row or column."""
    height, width = grid
    if kind.startswith('horizontal'):
        return height, _even(width)
    if kind.startswith('vertical'):
        return _even(height), width
    return _even(height), _even(width)


def merged_grid(kind: str, grid: Grid) -> Grid:
    """The grid that ``kind`` makes of ``grid``, both ``(H, W)``.

    ``diagonal`` keeps two tokens of every 2x2 patch and lays them along the shorter side: the longer one halves.
    """
    height, width = padded_grid(kind, grid)
    if kind.startswith('horizontal'):
        return height, width // 2
    if kind.startswith('vertical'):
        return height // 2, width
    if kind.startswith('symmetric'):
        return height // 2, width // 2
    if kind.startswith('diagonal'):
        return (height, width // 2) if width >= height else (height // 2, width)
    raise ValueError(f'unknown merge kind {kind!r}: use one of {", ".join(MERGE_KINDS)}')


def pad_grid(x: Tensor, grid: Grid, padded: Grid) -> Tensor:
    """Repeat the last row and column of ``x`` (B, H * W, C) until its grid is ``padded``."""
    if grid == padded:
        return x
    (height, width), (new_height, new_width) = grid, padded
    x = x.unflatten(1, (height, width))
    if new_width > width:
        x = torch.cat([x, x[:, :, -1:]], dim=2)
    if new_height > height:
        x = torch.cat([x, x[:, -1:]], dim=1)
    return x.flatten(1, 2)


def group_tokens(x: Tensor, grid: Grid, kind: str) -> Tensor:
    """Concatenate the neighbours that ``kind`` fuses: (B, H * W, C) -> (B, H' * W', n * C), n = 2 or 4.

    Within a group, tokens follow raster order. The horizontal pair is adjacent in memory: a view, no copy.
    """
    padded = padded_grid(kind, grid)
    x = pad_grid(x, grid, padded)
    batch, (height, width), dim = x.shape[0], padded, x.shape[-1]
    if kind.startswith('horizontal'):
        return x.reshape(batch, height * width // 2, 2 * dim)
    if kind.startswith('vertical'):
        x = x.reshape(batch, height // 2, 2, width, dim).transpose(2, 3)
        return x.reshape(batch, height * width // 2, 2 * dim)
    patches = x.reshape(batch, height // 2, 2, width // 2, 2, dim)
    if kind.startswith('symmetric'):
        return patches.transpose(2, 3).reshape(batch, height * width // 4, 4 * dim)
    main = torch.cat([patches[:, :, 0, :, 0], patches[:, :, 1, :, 1]], dim=-1)
    anti = torch.cat([patches[:, :, 0, :, 1], patches[:, :, 1, :, 0]], dim=-1)
    pair = torch.stack([main, anti], dim=2 if width >= height else 3)
    return pair.reshape(batch, height * width // 2, 2 * dim)


def distances(x: Tensor) -> Tensor:
    """How far every token is from the mean of its image's tokens: (B, N, C) -> (B, N, 1), above zero."""
    return (x - x.mean(1, keepdim=True)).norm(dim=-1, keepdim=True).clamp_min(LEAST_DISTANCE)


def weigh(groups: Tensor, far: Tensor, power: Tensor | float) -> Tensor:
    """Scale the tokens of every group by ``n * w_i``, ``w_i = d_i^p / sum_j d_j^p``: their mean is the weighted mean.

    Args:
        groups: (B, N, n * C), as :func:`group_tokens` makes them.
        far: (B, N, n), the distances d of the same tokens.
        power: p; 0 leaves the plain mean, a large one takes the token that is furthest from the mean token.
    """
    count = far.shape[-1]
    weights = count * (power * far.log()).softmax(-1)
    return (groups.unflatten(-1, (count, -1)) * weights[..., None].to(groups)).flatten(2)


def restore(x: Tensor, size: Grid, mode: str = 'nearest') -> Tensor:
    """Bring a merged map back to the grid it was merged from (paper: "simply upsampled").

    Args:
        x: (B, C, h, w), after any number of merges.
        size: The grid (H, W) before the merges; each side was halved, rounding up, some number of times.
        mode: ``nearest`` gives every position the token it was merged into; ``bilinear`` interpolates.

    Returns:
        (B, C, H, W). Rows and columns that padding added are cropped.

    Raises:
        ValueError: No number of halvings leads from ``size`` to the map's grid.
    """
    if x.shape[-2:] == tuple(size):
        return x
    scale = [_halvings(full, side) for full, side in zip(size, x.shape[-2:])]
    if mode == 'nearest':
        for axis, times in zip((3, 2), reversed(scale)):  # several times faster than F.interpolate on a CPU
            x = x.repeat_interleave(times, dim=axis) if times > 1 else x
    else:
        x = F.interpolate(x, scale_factor=[float(s) for s in scale], mode=mode, align_corners=False)
    return x[..., :size[0], :size[1]].contiguous()


def spread(tokens: Tensor, grid: Grid, size: Grid, mode: str = 'nearest') -> Tensor:
    """Tokens (B, h * w, C) on a merged ``grid`` as the map (B, C, H, W) of all patches (:func:`restore`)."""
    return restore(tokens.transpose(1, 2).unflatten(2, grid), size, mode)


def _halvings(full: int, side: int) -> int:
    """The power of two that takes ``full`` to ``side`` when every halving rounds up."""
    scale = 1
    while -(-full // scale) > side:
        scale *= 2
    if -(-full // scale) != side:
        raise ValueError(f'a side of {full} tokens never merges to {side}')
    return scale


class TokenMerge(nn.Module):
    """One merge: group neighbours, fuse them with a linear layer, optionally a depthwise 3x3 convolution.

    It starts as the mean of its inputs (and the convolution as zero, with a skip around it), so that a pretrained model
    keeps nearly the same function. A weighted one starts as the weighted mean, and has two parameters more: ``power``
    (:func:`weigh`), and where there is a CLS token ``proportion``, how much of the logarithm of its size is added to a
    merged token's attention (1: ToMe's proportional attention, 0: nothing).

    Args:
        dim: Channels C of a token.
        kind: One of :data:`MERGE_KINDS`.
        has_cls: Whether a CLS token passes by, which stands for one patch.
    """

    def __init__(self, dim: int, kind: str, has_cls: bool = False) -> None:
        super().__init__()
        if kind not in MERGE_KINDS:
            raise ValueError(f'unknown merge kind {kind!r}: use one of {", ".join(MERGE_KINDS)}')
        self.dim, self.kind = dim, kind
        self.fuse = nn.Linear(fused_tokens(kind) * dim, dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if has_conv(kind) else None
        self.power = nn.Parameter(torch.tensor(START_POWER)) if is_weighted(kind) else None
        self.proportion = nn.Parameter(torch.tensor(1.)) if is_weighted(kind) and has_cls else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make the merge the (weighted) mean of the tokens it fuses."""
        count = fused_tokens(self.kind)
        with torch.no_grad():
            self.fuse.weight.copy_(torch.eye(self.dim).repeat(1, count) / count)
            self.fuse.bias.zero_()
            if self.conv is not None:
                self.conv.weight.zero_()
                self.conv.bias.zero_()
            if self.power is not None:
                self.power.fill_(START_POWER)
            if self.proportion is not None:
                self.proportion.fill_(1.)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Merge (B, H * W, C) on ``grid``; return (B, H' * W', C) and the new grid."""
        groups = group_tokens(x, grid, self.kind)
        if self.power is not None:
            groups = weigh(groups, group_tokens(distances(x), grid, self.kind), self.power)
        x = self.fuse(groups)
        grid = merged_grid(self.kind, grid)
        if self.conv is not None:
            maps = x.transpose(1, 2).unflatten(2, grid)
            x = x + self.conv(maps).flatten(2).transpose(1, 2)
        return x, grid

    def extra_repr(self) -> str:
        return f'kind={self.kind}'
