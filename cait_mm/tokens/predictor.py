"""The network that says which tokens stay, in DynamicViT and dTPS."""
from typing import Any

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

from cait_mm.arch.cost import Cost, layer_norm, linear


class Predictor(nn.Module):
    """Tokens (B, N, C) -> logarithms of the probabilities to stay and to go, (B, N, 2).

    Half of the channels are a token's own, half the mean over all tokens that are left. Names are those of DynamicViT's
    checkpoints.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.in_conv = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(),
                                      nn.Linear(dim // 4, 2))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                trunc_normal_(layer.weight, std=.02)
                nn.init.zeros_(layer.bias)
        self.share: Tensor | None = None
        """The share of all patches that stayed in the last forward pass in training, (B,)."""

    def __getstate__(self) -> dict[str, Any]:
        """Without the share: it belongs to a graph, which cannot be copied."""
        return {**self.__dict__, 'share': None}

    def forward(self, x: Tensor, stays: Tensor) -> Tensor:
        """``stays`` (B, N, 1) is 1 for tokens that are left, 0 for others."""
        x = self.in_conv(x)
        own = x.shape[-1] // 2
        left = stays.sum(1, keepdim=True).clamp(min=0.5)  # draws may leave none
        mean = (x[..., own:] * stays).sum(1, keepdim=True) / left
        return self.out_conv(torch.cat([x[..., :own], mean.expand(-1, x.shape[1], -1)], dim=-1)).log_softmax(-1)

    @staticmethod
    def cost(tokens: int, dim: int) -> Cost:
        layers = (linear(tokens, dim, dim), linear(tokens, dim, dim // 2), linear(tokens, dim // 2, dim // 4),
                  linear(tokens, dim // 4, 2))
        return sum(layers, layer_norm(tokens, dim))
