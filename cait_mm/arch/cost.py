"""Multiply-accumulates and parameters of elementary layers, counted as fvcore does.

1 multiply-accumulate = 1 FLOP, LayerNorm counts 5 per element, batch norm 2; RMSNorm, softmax, activations, biases and
residual sums count nothing.
"""
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cait_mm.arch.base import BlockSpec

LAYER_NORM_FLOPS = 5
BATCH_NORM_FLOPS = 2


@dataclass(frozen=True)
class Cost:
    """MACs and parameters of a part; costs add up."""

    macs: int
    params: int

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(self.macs + other.macs, self.params + other.params)


def linear(tokens: int, inputs: int, outputs: int, bias: bool = True) -> Cost:
    """A linear layer over ``tokens`` tokens, or a convolution with ``inputs`` values under its kernel."""
    return Cost(tokens * inputs * outputs, (inputs + int(bias)) * outputs)


def layer_norm(tokens: int, dim: int) -> Cost:
    return Cost(LAYER_NORM_FLOPS * tokens * dim, 2 * dim)


def rms_norm(dim: int) -> Cost:
    return Cost(0, dim)


def batch_norm(positions: int, dim: int) -> Cost:
    return Cost(BATCH_NORM_FLOPS * positions * dim, 2 * dim)


def attention_products(block: 'BlockSpec', windows: tuple[int, int]) -> Cost:
    """Queries with keys and attention with values, in ``windows``: how many attentions, and of how many tokens each."""
    count, length = windows
    return Cost(count * block.num_heads * length**2 * (block.qk_dim + block.v_dim), 0)


def attention_cost(dim: int, block: 'BlockSpec', tokens: int, windows: tuple[int, int] | None = None,
                   qkv_bias: bool = True) -> Cost:
    """Norm, qkv, the two attention products and the output projection over ``tokens`` tokens.

    ``windows`` is the number of attentions computed in parallel and of the tokens in each, padding included; None is
    one over all tokens.
    """
    count, length = windows or (1, tokens)
    values = block.num_heads * block.v_dim
    qkv = linear(count * length, dim, block.num_heads * (2 * block.qk_dim + block.v_dim), qkv_bias)
    products = attention_products(block, (count, length))
    return layer_norm(tokens, dim) + qkv + products + linear(count * length, values, dim)


def ffn_cost(dim: int, block: 'BlockSpec', tokens: int) -> Cost:
    """Norm and the two linear layers over ``tokens`` tokens."""
    return layer_norm(tokens, dim) + linear(tokens, dim, block.ffn_dim) + linear(tokens, block.ffn_dim, dim)
