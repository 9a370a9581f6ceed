"""Rotary positions of an architecture: coordinates of a grid, and rotations of tokens at any coordinates."""
import torch
from torch import Tensor, nn

from cait_mm.arch.vit import Rope
from cait_mm.ops.rotary import axial_frequencies, grid_coordinates, mixed_frequencies, rotations
from cait_mm.ops.token_merge import Grid


class RotaryPositions(nn.Module):
    """How the planes of queries and keys turn with a token's place.

    Its one parameter has timm's name: ``freqs`` (2, blocks, heads, planes), where frequencies are learned.

    Args:
        rope: The architecture's.
        head_dim: The dense width of a head, of two channels a plane.
        num_heads: Heads.
        depth: Blocks that are built.
    """

    def __init__(self, rope: Rope, head_dim: int, num_heads: int, depth: int) -> None:
        super().__init__()
        self.rope, self.head_dim = rope, head_dim
        self.freqs = None
        if rope.type == 'mixed':
            blocks = [mixed_frequencies(head_dim, num_heads, rope.temperature) for _ in range(depth)]
            self.freqs = nn.Parameter(torch.stack(blocks, dim=1))

    def coordinates(self, grid: Grid) -> Tensor:
        """The places (1, H * W, 2) of the patches of a grid (H, W)."""
        rope = self.rope
        return grid_coordinates(grid, rope.type == 'dinov3', rope.grid_offset, rope.grid_indexing, rope.ref_feat_shape)

    def forward(self, coordinates: Tensor, block: int, planes: Tensor) -> Tensor:
        """The rotations (heads, N, ...) of tokens at ``coordinates`` (1, N, 2) in a block, of the ``planes`` (heads,
        number) that its heads have.
        """
        if self.freqs is None:
            frequencies = axial_frequencies(self.head_dim, self.rope.temperature).to(coordinates)[:, planes]
        else:
            frequencies = self.freqs[:, block].gather(-1, planes.expand(2, -1, -1))
        return rotations(coordinates, frequencies, self.rope.rotate_half)
