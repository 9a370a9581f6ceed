"""Rotary positions of tokens that stand anywhere, merged ones at the mean of their patches.

timm's modules rotate the patches of a whole grid. After a merge a token stands between patches, so coordinates are kept
here as numbers of their own: a merge averages them as it averages the tokens, and rotations are computed from them.
Coordinates, frequencies and the layout of the channels are timm's (``timm/layers/pos_embed_sincos.py``), which rotates
the channels (:func:`timm.layers.apply_rot_embed_cat`).
"""
import math

import torch
from torch import Tensor

from cait_mm.ops.token_merge import Grid, fused_tokens, group_tokens


def grid_coordinates(grid: Grid, centred: bool = False, offset: float = 0., indexing: str = 'ij',
                     reference: Grid | None = None) -> Tensor:
    """Where the patches of a grid (H, W) stand, in raster order: (1, H * W, 2).

    Args:
        grid: Rows and columns.
        centred: From -1 to 1 on each axis, in multiples of a turn (DINOv3), instead of whole numbers from 0.
        offset: Added to the whole numbers, or to the places of patches before they are brought to -1 to 1.
        indexing: ``ij`` gives (row, column), ``xy`` (column, row).
        reference: The grid of the pretraining, onto which the whole numbers are scaled (EVA-02).
    """
    axes = []
    for axis, side in enumerate(grid):
        places = torch.arange(side, dtype=torch.float32) + offset
        if centred:
            places = 2 * math.pi * (2 * (places + 0.5) / side - 1)
        elif reference is not None:
            places = places / side * reference[axis]
        axes.append(places)
    rows, columns = (item.flatten() for item in torch.meshgrid(*axes, indexing='ij'))
    return torch.stack([rows, columns] if indexing == 'ij' else [columns, rows], dim=-1)[None]


def merged_coordinates(coordinates: Tensor, grid: Grid, kind: str) -> Tensor:
    """The coordinates (1, N', 2) behind a merge of ``kind``: the means of those that it fuses, (1, H * W, 2)."""
    return group_tokens(coordinates, grid, kind).unflatten(-1, (fused_tokens(kind), 2)).mean(-2)


def axial_frequencies(head_dim: int, temperature: float) -> Tensor:
    """How fast every plane of a head turns along each coordinate: (2, head_dim / 2).

    The first half of the planes turns with the first coordinate alone, the second with the other.
    """
    bands = _bands(head_dim, temperature)
    still = torch.zeros_like(bands)
    return torch.stack([torch.cat([bands, still]), torch.cat([still, bands])])


def mixed_frequencies(head_dim: int, num_heads: int, temperature: float) -> Tensor:
    """Random start of learned frequencies: (2, heads, head_dim / 2); the planes of a head turn along two directions
    that are orthogonal, drawn for every head (RoPE-Mixed, Heo et al., ECCV 2024).
    """
    bands = _bands(head_dim, temperature)
    angles = torch.rand(num_heads, 1) * 2 * math.pi + torch.tensor([0., math.pi / 2])
    return torch.stack([(bands * turn(angles)[..., None]).flatten(1) for turn in (torch.cos, torch.sin)])


def rotations(coordinates: Tensor, frequencies: Tensor, half: bool) -> Tensor:
    """Sines and cosines as :func:`timm.layers.apply_rot_embed_cat` takes them: (..., N, 4 * planes).

    Args:
        coordinates: (1, N, 2).
        frequencies: (2, planes), or (2, heads, planes).
        half: A plane is a channel of the first half and one of the second (DINOv3), instead of two neighbours.
    """
    rows, columns = (item[:, None] for item in coordinates[0].float().unbind(-1))
    along, across = (item[..., None, :] for item in frequencies.float())
    angles = rows * along + columns * across
    angles = torch.cat([angles, angles], -1) if half else angles.repeat_interleave(2, -1)
    return torch.cat([angles.sin(), angles.cos()], -1)


def _bands(head_dim: int, temperature: float) -> Tensor:
    return 1 / temperature**(torch.arange(0, head_dim, 4, dtype=torch.float32) / head_dim)
