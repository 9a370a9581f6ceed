"""Planes: under rotary positions the channels of queries and keys turn in pairs, and go in pairs.

Two neighbours are a plane (``pairs``), or a channel of a head's first half and one of its second (``halves``).
"""
import torch
from torch import Tensor


def per_plane(values: Tensor, planes: str) -> Tensor:
    """Values per channel (heads, width) as pairs per plane: (heads, width / 2, 2)."""
    return values.unflatten(1, (2, -1)).mT if planes == 'halves' else values.unflatten(1, (-1, 2))


def per_channel(values: Tensor, planes: str) -> Tensor:
    """One value per plane (heads, width / 2) for each of its channels: (heads, width)."""
    return torch.cat([values, values], 1) if planes == 'halves' else values.repeat_interleave(2, 1)
