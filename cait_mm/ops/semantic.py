"""Blocks on semantic tokens (STViT-R, Chang et al., CVPR 2023), written from its description.

A few *semantic tokens* per window stand for a map of tokens: they are made from it, attend to it and to each other,
and the map is recovered from them. They lie on a grid of their own, ``samples`` on each side of every window. All
blocks are called with the map (B, H * W, C), the semantic tokens (B, H' * W', C) or None, and the map's grid (H, W),
and return both.
"""
import torch
import torch.nn.functional as F
from timm.layers import DropPath, LayerScale, Mlp
from torch import Tensor, nn

from cait_mm.ops.attention import Attention
from cait_mm.ops.layer_scale import fold_scale
from cait_mm.ops.token_merge import Grid
from cait_mm.ops.windows import partition, unpartition, wider_windows, window_count, window_of

Both = tuple[Tensor, Tensor | None]
"""The map, and the semantic tokens if there are any."""


def sample_grid(grid: Grid, window_size: int, samples: int) -> Grid:
    """The grid (H', W') of the semantic tokens of a map on ``grid`` (H, W)."""
    return tuple(samples * -(-side // window_size) for side in grid)


def maxima_of(x: Tensor, lying: Grid) -> Tensor:
    """The maxima (B, H', W', C) of H' x W' parts, ``lying``, of a map (B, H, W, C), which overlap where they are not
    whole: ``F.adaptive_max_pool2d``, which cannot be exported to ONNX.
    """
    for axis, count in enumerate(lying, 1):
        side = x.shape[axis]
        parts = [(index * side // count, -(-(index + 1) * side // count)) for index in range(count)]
        longest = max(end - start for start, end in parts)
        places = torch.tensor([[min(start + step, end - 1) for step in range(longest)] for start, end in parts],
                              device=x.device)
        x = x.index_select(axis, places.flatten()).unflatten(axis, places.shape).amax(axis + 1)
    return x


class CrossAttention(Attention):
    """:class:`~cait_mm.ops.attention.Attention` whose keys and values are of other tokens than its queries.

    Its weights are those of self-attention: the first rows of ``qkv`` make queries, the others keys and values.
    """

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Queries of (B, N, C), keys and values of (B, M, C) -> (B, N, C)."""
        return self.attend(*self.project(x, other))

    def project(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, heads, N, width) of (B, N, C), keys and values (B, heads, M, width) of (B, M, C)."""
        weight, bias, queries = self.qkv.weight, self.qkv.bias, self.num_heads * self.qk_dim
        rows = [queries, len(weight) - queries]
        biases = (None, None) if bias is None else bias.split(rows)
        q, kv = (F.linear(tokens, *layer) for tokens, layer in zip((x, other), zip(weight.split(rows), biases)))
        k, v = kv.split([queries, rows[1] - queries], dim=-1)
        return tuple(part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))


class SemanticBlock(nn.Module):
    """What these blocks share: norms before attention and FFN, and LayerScale behind them.

    Args:
        attention: Of the block.
        dim: Channels C of a token.
        ffn_dim: Hidden channels of the FFN.
        drop_path: Stochastic depth.
        eps: Of the norms.
        init_values: LayerScale's start.
    """

    def __init__(self, attention: Attention, dim: int, ffn_dim: int, drop_path: float, eps: float,
                 init_values: float) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(dim, eps=eps), attention, LayerScale(dim, init_values)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(dim, eps=eps), Mlp(dim, ffn_dim), LayerScale(dim, init_values)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def join(self, x: Tensor, attended: Tensor) -> Tensor:
        """Tokens and what attention gave for them -> the tokens behind the FFN."""
        return self.feed(x + self.drop_path(self.ls1(attended)))

    def feed(self, x: Tensor) -> Tensor:
        """Only the FFN."""
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))

    def fold_layer_scale(self) -> None:
        """Multiply LayerScale into the layers before it."""
        fold_scale(self.ls1, self.attn.proj)
        fold_scale(self.ls2, self.mlp.fc2)


class Generate(SemanticBlock):
    """Semantic tokens from a map: the maxima of ``samples`` x ``samples`` parts of every window attend to their
    window, which is ``margin`` tokens wider here, and to each other. No shortcut leads around this attention.

    Args:
        args: Of :class:`SemanticBlock`.
        window_size, samples, margin: See above.
    """

    def __init__(self, *args: object, window_size: int, samples: int, margin: int) -> None:
        super().__init__(*args)
        self.window_size, self.samples, self.margin = window_size, samples, margin

    def forward(self, x: Tensor, _: Tensor | None, grid: Grid) -> Both:
        window, own = window_of(grid, self.window_size), (self.samples, self.samples)
        lying = sample_grid(grid, self.window_size, self.samples)
        maxima = partition(maxima_of(x.unflatten(1, grid), lying), own)
        maxima = maxima.unflatten(0, (x.shape[0], -1)).flatten(1, 2)  # window by window
        both, made, count = self.norm1(torch.cat([maxima, x], dim=1)), maxima.shape[1], window_count(grid, window)
        q, k, v = self.attn.project(both[:, :made], both)
        places = torch.cat([torch.arange(made, device=x.device).unflatten(0, (count, -1)),
                            wider_windows(grid, window, self.margin, x.device) + made], dim=1)
        q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (
            q.unflatten(2, (count, -1)), k[:, :, places], v[:, :, places]))
        heard = unpartition(self.ls1(self.attn.attend(q, k, v)), own, lying).flatten(1, 2)
        return x, self.feed(heard)


class Gather(SemanticBlock):
    """Semantic tokens ask themselves and the whole map."""

    def forward(self, x: Tensor, semantic: Tensor, _: Grid) -> Both:
        both = self.norm1(torch.cat([semantic, x], dim=1))
        return x, self.join(semantic, self.attn(both[:, :semantic.shape[1]], both))


class Mix(SemanticBlock):
    """Semantic tokens ask each other: those of their window, or all.

    Args:
        args: Of :class:`SemanticBlock`.
        window_size: Of the map.
        samples: Tokens on each side of a window.
        local: Whether they ask their window alone.
    """

    def __init__(self, *args: object, window_size: int, samples: int, local: bool) -> None:
        super().__init__(*args)
        self.window_size, self.samples, self.local = window_size, samples, local

    def forward(self, x: Tensor, semantic: Tensor, grid: Grid) -> Both:
        tokens = self.norm1(semantic)
        if not self.local:
            return x, self.join(semantic, self.attn(tokens))
        lying, own = sample_grid(grid, self.window_size, self.samples), (self.samples, self.samples)
        heard = self.attn(partition(tokens.unflatten(1, lying), own))
        return x, self.join(semantic, unpartition(heard, own, lying).flatten(1, 2))


class Recover(SemanticBlock):
    """The map asks the semantic tokens, which end here."""

    def forward(self, x: Tensor, semantic: Tensor, _: Grid) -> Both:
        return self.join(x, self.attn(self.norm1(x), self.norm1(semantic))), None
