"""The first-order term of every channel: its output times the gradient there, summed over tokens.

This is the derivative of the loss by a gate on the channel, and by linearity also the sum of weights times their
gradients over the channel's row and bias. Its negative is the first-order change of the loss when the channel is cut.
"""
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cait_mm.models.base import backbone_inside
from cait_mm.ops.compactor import hidden_groups
from cait_mm.pruning.calibrate import require_self_attention
from cait_mm.pruning.scores.task import Batch, answers, task_loss
from cait_mm.pruning.selection import BlockChannels


def terms(model: nn.Module, batches: Iterable[Batch]) -> Iterator[list[BlockChannels]]:
    """For every batch the terms of all blocks, one per image: q, k, v (B, heads, width) and ffn (B, hidden).

    The loss is the mean over the batch. A gated FFN's channel has the term of its value, which is that of its product
    with the gate. Blocks that the loss does not see have terms of 0.

    Raises:
        UserError: Queries and keys of a block are of different tokens.
    """
    backbone = backbone_inside(model)
    require_self_attention(backbone)
    blocks = backbone.flat_blocks()
    for images, targets in batches:
        with _gated([layer for block in blocks for layer in (block.attn.qkv, block.mlp.fc1)]) as gates:
            loss = task_loss(answers(model, images)[0], targets)
        grads = iter(torch.autograd.grad(loss, gates, materialize_grads=True))
        yield [_of_block(block, *(next(grads).unflatten(0, (len(images), -1)).sum((1, 2)) for _ in range(2)))
               for block in blocks]


def means(batches: Iterable[Sequence[BlockChannels]]) -> list[BlockChannels]:
    """The mean over batches of every block's values."""
    total, count = [], 0
    for batch in batches:
        total = [block if not count else BlockChannels(*(ours + theirs for (_, ours), (_, theirs) in zip(
            total[index].items(), block.items()))) for index, block in enumerate(batch)]
        count += 1
    return [block.map(lambda values: values / count) for block in total]


def _of_block(block: nn.Module, qkv: Tensor, fc1: Tensor) -> BlockChannels:
    """Values (..., 3 * heads * width) and (..., stacks * hidden) of a block's two layers."""
    q, k, v = qkv.unflatten(-1, (3, block.attn.num_heads, -1)).unbind(-3)
    return BlockChannels(q, k, v, fc1.unflatten(-1, (hidden_groups(block.mlp), -1))[..., -1, :])


@contextmanager
def _gated(layers: Sequence[nn.Linear]) -> Iterator[list[Tensor]]:
    """Multiply the layers' outputs (n, tokens, channels) by gates of 1, (n, 1, channels); filled in the order of calls,
    which is that of the layers.
    """
    gates: list[Tensor] = []

    def gate(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
        gates.append(output.new_ones(len(output), 1, output.shape[-1]).requires_grad_())
        return output * gates[-1]

    hooks = [layer.register_forward_hook(gate) for layer in layers]
    try:
        yield gates
    finally:
        for hook in hooks:
            hook.remove()
