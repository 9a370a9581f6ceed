"""A transformer block on one image written out token by token and head by head."""
import torch
from torch import Tensor

from cait_mm.models.block import Block


def block_by_hand(block: Block, tokens: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Tokens (C,) behind a DeiT block, and the attention (heads, N, N) in it."""
    heads, width = block.attn.num_heads, block.attn.v_dim
    parts = [block.attn.qkv(block.norm1(token)).view(3, heads, width) for token in tokens]
    attention = torch.stack([torch.stack([
        torch.stack([(own[0, head] * other[1, head]).sum() * width ** -0.5 for other in parts]).softmax(0)
        for own in parts]) for head in range(heads)])
    behind = []
    for index, token in enumerate(tokens):
        values = [sum(attention[head, index, other] * part[2, head] for other, part in enumerate(parts))
                  for head in range(heads)]
        token = token + block.attn.proj(torch.cat(values))
        behind.append(token + block.mlp(block.norm2(token)))
    return behind, attention
