"""Blocks written out for one image, with their attention: what token reducers are held against."""
import torch
from torch import Tensor, nn

from cait_mm.models.deit import DeiT


def lively(model: DeiT) -> DeiT:
    """``model`` in eval mode with weights under which tokens differ in what they get of attention."""
    torch.manual_seed(0)
    for block in model.eval().blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.3)
        nn.init.normal_(block.mlp.fc2.weight, std=0.3)
    nn.init.normal_(model.pos_embed, std=1.)
    return model


def embedded(model: DeiT, image: Tensor) -> Tensor:
    """The tokens (N, C) in front of block 0 of one image (1, 3, H, W)."""
    return model._embed(image)[0][0]


def attended(block: nn.Module, x: Tensor, bias: Tensor | float = 0.) -> tuple[Tensor, Tensor]:
    """The tokens (N, C) behind attention, and the attention (heads, N, N)."""
    attn, weights, results = block.attn, [], []
    q, k, v = attn.qkv(block.norm1(x)).chunk(3, dim=-1)
    for head in range(attn.num_heads):
        own = slice(head * attn.qk_dim, (head + 1) * attn.qk_dim)
        weights.append((q[:, own] @ k[:, own].T / attn.qk_dim**0.5 + bias).softmax(-1))
        results.append(weights[-1] @ v[:, own])
    return x + attn.proj(torch.cat(results, dim=-1)), torch.stack(weights)


def fed(block: nn.Module, x: Tensor) -> Tensor:
    """The tokens behind the FFN."""
    return x + block.mlp(block.norm2(x))
