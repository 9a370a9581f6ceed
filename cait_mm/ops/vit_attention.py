"""Attention with the norms and rotary positions that plain ViTs have."""
from collections.abc import Callable

import torch
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn

from cait_mm.ops.attention import Attention
from cait_mm.ops.offsets import resize_table
from cait_mm.ops.token_merge import Grid

NormLayer = Callable[[int], nn.Module]


class ViTAttention(Attention):
    """:class:`~cait_mm.ops.attention.Attention` whose queries and keys may be normalised and rotated.

    Args:
        dim, num_heads, qk_dim, v_dim, head_dim, qkv_bias, proj_bias: Of :class:`~cait_mm.ops.attention.Attention`.
        qk_norm: Makes the norms of queries and of keys, per head (``q_norm``, ``k_norm``); None for none.
        inner_norm: Makes the norm before the output projection, over all heads (``norm``); None for none.
        planes: How channels of queries and keys turn in planes (:mod:`~cait_mm.ops.planes`); None where positions are
            not rotary. The buffer ``planes`` (heads, qk_dim / 2) says which of the dense planes they are.
        table_rows: Of the table of biases (:mod:`~cait_mm.ops.offsets`); 0 for none.
    """

    def __init__(self, dim: int, num_heads: int, qk_dim: int, v_dim: int, head_dim: int, qkv_bias: bool,
                 proj_bias: bool, qk_norm: NormLayer | None, inner_norm: NormLayer | None, planes: str | None,
                 table_rows: int = 0) -> None:
        super().__init__(dim, num_heads, qk_dim, v_dim, head_dim, qkv_bias, proj_bias)
        self.q_norm, self.k_norm = (nn.Identity() if qk_norm is None else qk_norm(qk_dim) for _ in range(2))
        if inner_norm is not None:
            self.norm = inner_norm(num_heads * v_dim)
        self.rotate_half = planes == 'halves'
        if planes is not None:
            self.register_buffer('planes', torch.arange(qk_dim // 2).repeat(num_heads, 1))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(table_rows, num_heads)) if table_rows else None

    def project(self, x: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) -> queries and keys, normalised and rotated, and values.

        Args:
            x: Tokens; the last ones lie on the grid.
            rotation: Of the tokens on the grid, as :func:`~cait_mm.ops.rotary.rotations` gives it. Those in front of
                them are not rotated.
        """
        q, k, v = super().project(x)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = (self._rotated(item, rotation) for item in (q, k))
        return q, k, v

    def offset_bias(self, rows: Tensor, window: Grid, grid: Grid) -> Tensor:
        """The bias (1, heads, N, N) of all pairs of tokens.

        Args:
            rows: (N, N), of the table on ``grid`` (:func:`~cait_mm.ops.offsets.offset_rows`).
            window: The table's (H, W).
            grid: That of the image, onto which the table is resampled.
        """
        return resize_table(self.relative_position_bias_table, window, grid)[rows].permute(2, 0, 1)[None]

    def _rotated(self, x: Tensor, rotation: Tensor) -> Tensor:
        prefix = x.shape[2] - rotation.shape[-2]
        turned = apply_rot_embed_cat(x[:, :, prefix:], rotation, half=self.rotate_half)
        return turned if prefix == 0 else torch.cat([x[:, :, :prefix], turned], dim=2)
