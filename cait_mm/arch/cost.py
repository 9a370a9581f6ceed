"""Multiply-accumulates and parameters of elementary layers, counted as fvcore does.

1 multiply-accumulate = 1 FLOP, LayerNorm counts 5 per element, batch norm 2; softmax, activations, biases and residual
sums count nothing.
"""
from dataclasses import dataclass

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


def batch_norm(positions: int, dim: int) -> Cost:
    return Cost(BATCH_NORM_FLOPS * positions * dim, 2 * dim)
