"""The transformer block that all families share, and the stochastic depth of a stack of them."""
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.tokens import Weigh

DropPathRate = float | Sequence[float]


def drop_path_rates(rate: DropPathRate, depth: int) -> list[float]:
    """The stochastic depth of each of ``depth`` blocks.

    Args:
        rate: The last block's, from 0 at the first growing linearly (DeiT, Swin), or one rate per block: XCiT's
            recipes have the same in all, ``[0.05] * 12``.
        depth: The number of blocks.

    Raises:
        UserError: A rate is no number from 0 to below 1, or there are not as many as blocks.
    """
    several = isinstance(rate, Sequence) and not isinstance(rate, str)
    for value in rate if several else [rate]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise UserError(f'drop_path_rate={rate!r}: give one number from 0 to below 1, or one per block.')
    if several and len(rate) != depth:
        raise UserError(f'drop_path_rate has {len(rate)} rates for {depth} blocks: give one per block, or one number '
                        'that the rates grow to.')
    return [float(value) for value in rate] if several else torch.linspace(0, rate, depth, device='cpu').tolist()


class Block(nn.Module):
    """A pre-norm transformer block around an attention: (B, N, C) -> (B, N, C).

    Args:
        attention: Maps (B, N, C) to (B, N, C); in Swin it also wants the grid.
        dim: Channels C of a token.
        ffn_dim: Hidden channels of the FFN.
        drop_path: Stochastic depth.
        eps: Of the norms.
        residual_scale: Both branches are divided by it (LV-ViT).
    """

    def __init__(self, attention: nn.Module, dim: int, ffn_dim: int, drop_path: float = 0., eps: float = 1e-6,
                 residual_scale: float = 1.) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, ffn_dim)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.residual_scale = residual_scale

    def forward(self, x: Tensor, *seen: Any) -> Tensor:
        """``seen`` is what the attention wants next to the tokens."""
        return self.feed(x + self._scaled(self.attn(self.norm1(x), *seen)))

    def look(self, x: Tensor, bias: Tensor | None = None,
             weigh: Weigh | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Only the attention: the tokens behind it, queries and keys, and the attention (B, heads, N, N) if ``weigh``
        makes it from its logits.
        """
        q, k, v = self.attn.project(self.norm1(x))
        weights = None if weigh is None else weigh(self.attn.logits(q, k, bias))
        return x + self._scaled(self.attn.attend(q, k, v, bias, weights)), q, k, weights

    def feed(self, x: Tensor) -> Tensor:
        """Only the FFN."""
        return x + self._scaled(self.mlp(self.norm2(x)))

    def fold_layer_scale(self) -> None:
        """Multiply LayerScale into the layers before it; there is none here."""

    def _scaled(self, branch: Tensor) -> Tensor:
        branch = self.drop_path(branch)
        return branch if self.residual_scale == 1 else branch / self.residual_scale
