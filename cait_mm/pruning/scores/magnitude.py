"""Magnitude: channels of small weights go first."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cait_mm.models.base import backbone_inside
from cait_mm.ops.compactor import hidden_groups, linear_parameters
from cait_mm.pruning.scores.task import Batch
from cait_mm.pruning.selection import BlockChannels


@torch.no_grad()
def magnitude(model: nn.Module, batches: Sequence[Batch] = ()) -> list[BlockChannels]:
    """The L2 norm of all weights that go with a channel: its row and bias, of a value also its column in the output
    projection, of a hidden channel its column in the FFN's second layer. No data are looked at.
    """
    return [_of_block(block) for block in backbone_inside(model).flat_blocks()]


def _of_block(block: nn.Module) -> BlockChannels:
    heads = block.attn.num_heads
    q, k, v = _rows(block.attn.qkv).unflatten(0, (3, heads, -1))
    ffn = _rows(block.mlp.fc1).unflatten(0, (hidden_groups(block.mlp), -1)).sum(0)
    v = v + _columns(block.attn.proj).unflatten(0, (heads, -1))
    return BlockChannels(q, k, v, ffn + _columns(block.mlp.fc2)).map(torch.sqrt)


def _rows(layer: nn.Linear) -> Tensor:
    """The squares of each output's weights and bias, summed."""
    return sum(getattr(layer, name).square().reshape(layer.out_features, -1).sum(1)
               for name in linear_parameters(layer))


def _columns(layer: nn.Linear) -> Tensor:
    """The squares of each input's weights, summed."""
    return layer.weight.square().sum(0)
