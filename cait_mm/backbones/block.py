"""The transformer block that all families share."""
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from cait_mm.ops.token_merge import Grid


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

    def forward(self, x: Tensor, *grid: Grid) -> Tensor:
        x = x + self._scaled(self.attn(self.norm1(x), *grid))
        return x + self._scaled(self.mlp(self.norm2(x)))

    def _scaled(self, branch: Tensor) -> Tensor:
        branch = self.drop_path(branch)
        return branch if self.residual_scale == 1 else branch / self.residual_scale
