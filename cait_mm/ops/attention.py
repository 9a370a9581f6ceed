"""Self-attention with any width of query and key and of value, for pruned channels."""
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention on PyTorch's fused kernels, or unfused (``fused_attn``, timm's name).

    The softmax scale is ``head_dim ** -0.5`` of the dense model for every width: removing a channel that is zero must
    not change the others. State-dict names are those of DeiT and timm (``qkv``, ``proj``).

    Args:
        dim: Channels of a token.
        num_heads: Heads.
        qk_dim: Width of query and key per head.
        v_dim: Width of value per head.
        head_dim: The dense model's width per head; fixes the scale.
        qkv_bias: Whether query, key and value have a bias.
        proj_bias: Whether the output projection has one.
    """

    def __init__(self, dim: int, num_heads: int, qk_dim: int, v_dim: int, head_dim: int, qkv_bias: bool = True,
                 proj_bias: bool = True) -> None:
        super().__init__()
        self.num_heads, self.qk_dim, self.v_dim = num_heads, qk_dim, v_dim
        self.fused_attn = True
        self.scale = head_dim ** -0.5
        self.qkv = nn.Linear(dim, num_heads * (2 * qk_dim + v_dim), bias=qkv_bias)
        self.norm = nn.Identity()
        self.proj = nn.Linear(num_heads * v_dim, dim, bias=proj_bias)

    def forward(self, x: Tensor, bias: Tensor | None = None, *positions: Any) -> Tensor:
        """(B, N, C) -> (B, N, C).

        Args:
            x: Tokens.
            bias: Added before the softmax; it broadcasts to (B, heads, N, N).
            positions: Further arguments of :meth:`project`.
        """
        return self.attend(*self.project(x, *positions), bias)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) -> queries, keys and values, each (B, heads, N, its width)."""
        heads = self.num_heads
        widths = [heads * self.qk_dim, heads * self.qk_dim, heads * self.v_dim]
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in self.qkv(x).split(widths, dim=-1))
        return q, k, v

    def logits(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        """Queries and keys from :meth:`project` -> the logits of attention (B, heads, N, N)."""
        logits = (q * self.scale) @ k.transpose(-2, -1)
        return logits if bias is None else logits + bias

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None,
               weights: Tensor | None = None) -> Tensor:
        """Queries, keys and values from :meth:`project` -> (B, N, C); ``weights`` (B, heads, N, N) is the attention,
        where it is at hand.
        """
        if weights is None and self.fused_attn:
            mask = None if bias is None else bias.to(q)
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        else:
            x = (self.logits(q, k, bias).softmax(dim=-1) if weights is None else weights) @ v
        return self.proj(self.norm(x.transpose(1, 2).flatten(2)))

    def extra_repr(self) -> str:
        return f'num_heads={self.num_heads}, qk_dim={self.qk_dim}, v_dim={self.v_dim}'


def size_bias(x: Tensor, prefix: int, logarithm: Tensor) -> Tensor:
    """The bias of proportional attention over tokens ``x`` (B, N, C): (1, 1, 1, N), the logarithms of their sizes.

    Softmax ignores a constant: it is enough to lower the first ``prefix`` tokens, which stand for one patch each, by
    the ``logarithm`` of how many patches each of the others stands for.
    """
    return torch.cat([-logarithm.to(x).expand(prefix), x.new_zeros(x.shape[1] - prefix)])[None, None, None]


def set_fused_attn(model: nn.Module, fused: bool) -> None:
    """Let every attention of ``model``, timm's pooling included, use fused kernels or not, for measurements and formats
    without them.
    """
    for module in model.modules():
        if hasattr(module, 'fused_attn'):
            module.fused_attn = fused
