"""S2ViTE's scores of heads and neurons (NeurIPS 2021; github.com/VITA-Group/SViTE, ``structure_new``).

A head's score is first-order Taylor, the mean over images of ``|<A, dL/dA>|`` with its output A before the projection.
A neuron's is the L1 norm of its weights in both layers of the FFN. Both are compared within one layer only: every
layer keeps the same share of its heads, and every FFN the same share of its neurons. Ranks within a layer say this in
one sort.

Here every head keeps as many channels as the others, so a head's score spreads to its channels: they come in the order
of their own first-order terms, behind those of the heads that score less. With head-level consistency all heads then
give up the same share, which is the share of the neurons too.

This is the score alone, for one cut; its training, which drops and regrows, is :mod:`~cait_mm.pruning.regrow`.
"""
from collections.abc import Sequence

from torch import Tensor, nn

from cait_mm.models.base import backbone_inside
from cait_mm.ops.compactor import hidden_groups
from cait_mm.pruning.scores.first_order import means, terms
from cait_mm.pruning.scores.task import Batch
from cait_mm.pruning.selection import BlockChannels


def s2vite(model: nn.Module, batches: Sequence[Batch]) -> list[BlockChannels]:
    """Ranks within the layer: of a channel in its head from 0 to 1, and one more for every head that scores less; of a
    neuron from 0 to 1.
    """
    found = list(terms(model, batches))
    own = means([block.map(lambda values: values.abs().mean(0)) for block in batch] for batch in found)
    heads = means([block.map(lambda values: values.sum(-1).abs().mean(0)) for block in batch] for batch in found)
    blocks = backbone_inside(model).flat_blocks()
    return [_of_block(block, inside, of_heads.v) for block, inside, of_heads in zip(blocks, own, heads)]


def _of_block(block: nn.Module, own: BlockChannels, heads: Tensor) -> BlockChannels:
    below = heads.argsort().argsort()[:, None]
    return BlockChannels(*(_ranks(values) + below for values in (own.q, own.k, own.v)), _ranks(_neurons(block.mlp)))


def _ranks(values: Tensor) -> Tensor:
    """The place of every value among those of its row, (..., n), from 0 to below 1."""
    return values.argsort(-1).argsort(-1) / values.shape[-1]


def _neurons(mlp: nn.Module) -> Tensor:
    rows = mlp.fc1.weight.detach().abs().sum(1).unflatten(0, (hidden_groups(mlp), -1)).sum(0)
    return rows + mlp.fc2.weight.detach().abs().sum(0)
