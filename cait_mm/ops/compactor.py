"""Compactors: learnable channel transforms behind a linear layer, applied to its weights (paper, section III-C).

``(x W + b) C = x (W C) + b C``: multiplying C into the weights once a step gives the same outputs as multiplying every
activation, at the cost of plain fine-tuning. Column j of C belongs to output channel j, its norm is the channel's
importance, and a zero column makes the channel exactly zero.
"""
import re

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cait_mm.ops.attention import Attention


class Compactor(nn.Module):
    """One square matrix C per group of output channels, identity at the start.

    ``columns[g, j]`` is column j of group g's matrix, in one piece of memory: norms of columns are needed every step,
    and reading them across rows takes 40 times as long. ``mask`` (groups, width), a buffer, is False for the channels
    that are being pushed to zero.

    Args:
        groups: Groups that are transformed apart: three times the heads for a fused qkv, one for an FFN.
        width: Channels of a group.
    """

    def __init__(self, groups: int, width: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.eye(width).repeat(groups, 1, 1))
        self.register_buffer('mask', torch.ones(groups, width, dtype=torch.bool))

    def forward(self, parameter: Tensor) -> Tensor:
        """A linear layer's weight (groups * width, inputs) or bias (groups * width,) times the matrices."""
        rows = parameter.reshape(*self.columns.shape[:2], -1)
        return (self.columns @ rows).reshape(parameter.shape)

    def column_norms(self) -> Tensor:
        """Importance of every channel, ``||C[:, j]||``: (groups, width)."""
        return self.columns.norm(dim=2)


def linear_parameters(layer: nn.Linear) -> tuple[str, ...]:
    """``weight`` and, where there is one, ``bias``."""
    return ('weight',) if layer.bias is None else ('weight', 'bias')


def add_compactor(layer: nn.Linear, groups: int = 1) -> Compactor:
    """Put a compactor behind ``layer``; its weight and bias become their products with it wherever they are read."""
    compactor = Compactor(groups, layer.out_features // groups).to(layer.weight)
    for name in linear_parameters(layer):
        parametrize.register_parametrization(layer, name, compactor)
    return compactor


@torch.no_grad()
def without_compactor(layer: nn.Linear) -> nn.Linear:
    """A plain copy of ``layer`` with its compactor multiplied in.

    (``parametrize.remove_parametrizations`` is not for a deep copy: it shares its class with the original.)
    """
    plain = nn.utils.skip_init(nn.Linear, layer.in_features, layer.out_features, bias=layer.bias is not None,
                               device=layer.weight.device, dtype=layer.weight.dtype)
    for name in linear_parameters(layer):
        getattr(plain, name).copy_(getattr(layer, name))
    return plain


def compactor_of(layer: nn.Linear) -> Compactor:
    """The compactor behind ``layer``."""
    return layer.parametrizations.weight[0]


def block_compactors(block: nn.Module) -> tuple[Compactor, Compactor]:
    """The compactors of a block: behind its fused qkv, and behind its FFN's first layer."""
    return compactor_of(block.attn.qkv), compactor_of(block.mlp.fc1)


@torch.no_grad()
def start_from(compacted: nn.Module, plain: nn.Module) -> None:
    """Give a module with compactors the weights of one without; the compactors become the identity again."""
    state = plain.state_dict()
    for name, own in compacted.state_dict().items():
        if name.endswith('.columns'):
            own.copy_(torch.eye(own.shape[-1]))
        elif name.endswith('.mask'):
            own.fill_(True)
        else:
            own.copy_(state[re.sub(r'parametrizations\.(weight|bias)\.original$', r'\1', name)])


def hidden_groups(mlp: nn.Module) -> int:
    """How many stacks of hidden channels an FFN's first layer gives: 2, the gates and the values, where it is gated."""
    return mlp.fc1.out_features // mlp.fc2.in_features


def add_block_compactors(attention: Attention, fc1: nn.Linear, groups: int = 1) -> list[Compactor]:
    """Compactors for q, k and v of every head (one stack behind the fused qkv) and for the FFN's hidden channels in
    their ``groups``.
    """
    if attention.qk_dim != attention.v_dim:
        raise ValueError(f'compactors start at full width, this attention has qk_dim={attention.qk_dim} and '
                         f'v_dim={attention.v_dim}')
    return [add_compactor(attention.qkv, 3 * attention.num_heads), add_compactor(fc1, groups)]


def add_backbone_compactors(backbone: nn.Module) -> None:
    """Compactors for every block of a backbone whose ``flat_blocks()`` have ``attn`` and ``mlp.fc1``."""
    for block in backbone.flat_blocks():
        add_block_compactors(block.attn, block.mlp.fc1, hidden_groups(block.mlp))


def split_qkv(stacked: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values per channel of a fused qkv, (3 * heads, width), as q, k and v, (heads, width) each."""
    return stacked[:heads], stacked[heads:2 * heads], stacked[2 * heads:]
