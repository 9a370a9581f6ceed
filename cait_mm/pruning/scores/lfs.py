"""LFS, low-frequency sensitivity (VTC-LFC, NeurIPS 2022; github.com/Daner-Wang/VTC-LFC).

What a channel does for low frequencies: the loss is that of low-pass filtered images, and most of it is the distance of
their CLS feature from that of the whole image. This part needs no labels and has a gradient without training.

The constants are those of its code: cutoff 0.1, loss ``0.1 CE + 0.9 KL``. As there the KL is over the softmax of the
feature's channels and divided by their number. This is its global mode, in which the feature is the normalised last
CLS and one pass scores all blocks. Left out: the pipeline around it, which prunes block by block, each with that
block's CLS and a binary search under an allowed drop in accuracy, and which searches for the heads to remove. Its
gradients are those of training mode, with paths dropped; here they are those of eval mode and can be repeated.
"""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cait_mm.models.base import backbone_inside
from cait_mm.ops.compactor import hidden_groups
from cait_mm.pruning.imitate import kl
from cait_mm.pruning.scores.task import Batch, answers, task_loss
from cait_mm.pruning.selection import BlockChannels

CUTOFF = 0.1
"""Of the filter: the share of the image's shorter side that is the diameter of its standard deviation."""
TASK = 0.1
"""The share of the task's loss; the rest is the feature's KL."""


def lfs(model: nn.Module, batches: Sequence[Batch], cutoff: float = CUTOFF, task: float = TASK) -> list[BlockChannels]:
    """The sum over a channel's inputs of (weight times gradient) squared, biases left out; q and k share their sum.

    Args:
        model: As all scores.
        batches: As all scores; their images are filtered here.
        cutoff, task: See :data:`CUTOFF` and :data:`TASK`.
    """
    blocks = backbone_inside(model).flat_blocks()
    weights = [layer.weight.requires_grad_() for block in blocks for layer in (block.attn.qkv, block.mlp.fc1)]
    grads = [torch.zeros_like(weight) for weight in weights]
    for images, targets in batches:
        with torch.no_grad():
            _, wanted = answers(model, images)
        logits, feature = answers(model, low_pass(images, cutoff))
        loss = task * task_loss(logits, targets) + (1 - task) * kl(feature, wanted) / wanted.shape[1]
        for grad, new in zip(grads, torch.autograd.grad(loss, weights, materialize_grads=True)):
            grad += new / len(batches)
    sums = iter([(weight * grad).square().sum(1).detach() for weight, grad in zip(weights, grads)])
    return [_of_block(block, next(sums), next(sums)) for block in blocks]


def low_pass(images: Tensor, cutoff: float) -> Tensor:
    """Images (B, C, H, W) times a Gaussian over their frequencies.

    As in its code the Gaussian's centre is between the frequencies 0 and -1 of a side of even length, and what is
    imaginary after that is dropped.
    """
    deviation = min(images.shape[-2:]) * cutoff / 2
    rows, columns = (torch.exp(-torch.fft.ifftshift(torch.arange(side) - (side - 1) / 2).square() / (2 * deviation**2))
                     for side in images.shape[-2:])
    return torch.fft.ifft2(torch.fft.fft2(images) * (rows[:, None] * columns).to(images)).real


def _of_block(block: nn.Module, qkv: Tensor, fc1: Tensor) -> BlockChannels:
    q, k, v = qkv.unflatten(0, (3, block.attn.num_heads, -1))
    return BlockChannels(q + k, q + k, v, fc1.unflatten(0, (hidden_groups(block.mlp), -1)).sum(0))
