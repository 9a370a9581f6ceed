"""NViT's Hessian-aware saliency with its latency term (CVPR 2023; github.com/NVlabs/NViT, method 23).

The square of a group's first-order term estimates its share of the loss through the Fisher matrix. A group is channel i
of the queries in *all* heads, or of the values: its weights in every head are summed before the square, so the score is
one per index and head-level consistency is part of the method. Keys follow the queries and are not scored.

A latency table (:mod:`cait_mm.latency`) turns on the second term: cutting a channel is worth ``weight`` times the
seconds that it saves. Its code cuts a few channels at a time and reads the table at the widths reached; here the i-th
least important channel of a module is judged at the width that it finds, and never goes before the ones below it. That
is the same order. The table has one width for queries, keys and values, which run at one; half of what a narrower
attention saves goes to queries and keys, and half to values.

Left out: whole heads and the embedding, which NViT cuts too; the distillation and the updates of weights between cuts,
with the momentum of scores over them. Scores depend on the size of batches, as its do.
"""
import logging
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cait_mm.latency.table import Curve, LatencyTable, interpolated
from cait_mm.models.base import backbone_inside
from cait_mm.pruning.scores.first_order import means, terms
from cait_mm.pruning.scores.task import Batch
from cait_mm.pruning.selection import BlockChannels

LOGGER = logging.getLogger('cait_mm')
WEIGHT = 5e-4
"""Of a second saved, as in its commands. Scores have the scale of the loss, so another loss may want another weight."""
LEAST = {'qk': 8, 'v': 8, 'ffn': 16}
"""Modules of this width and below get nothing for latency."""
PARTS = {'qk': ('attention', 0.5), 'v': ('attention', 0.5), 'ffn': ('ffn', 1.)}
"""The part of the table for every kind of channel, and its share of the time."""


def nvit(model: nn.Module, batches: Sequence[Batch], latency: None | str | os.PathLike | LatencyTable = None,
         weight: float = WEIGHT) -> list[BlockChannels]:
    """The mean over batches of the squared term of every group, less what its latency is worth.

    Args:
        model, batches: As all scores.
        latency: The table of this architecture, or the path of its JSON file. None leaves the term out.
        weight: See :data:`WEIGHT`.

    Raises:
        UserError: The table cannot be read, or is of another architecture.
    """
    importance = means([_squared(block) for block in batch] for batch in terms(model, batches))
    if latency is None:
        LOGGER.info('NViT has no latency table, so its score is the saliency alone.')
        return importance
    table = latency if isinstance(latency, LatencyTable) else LatencyTable.from_file(latency)
    spec = backbone_inside(model).spec
    table.require(spec.arch, table.img_size, table.outputs)
    worth = {kind: [table.curve(spec, part, index) for index in range(len(importance))]
             for kind, (part, _) in PARTS.items()}
    return [BlockChannels(*(_with_latency(values, worth[kind][index], PARTS[kind][1] * weight / 1000,
                                          LEAST[kind]).expand_as(values)
                            for kind, (_, values) in zip(('qk', 'qk', 'v', 'ffn'), block.items())))
            for index, block in enumerate(importance)]


def _squared(block: BlockChannels) -> BlockChannels:
    """Terms (B, heads, width) and (B, hidden) of a batch as the groups' scores."""
    q, v = ((values.sum((0, 1)) / 2).square().expand(values.shape[1:]) for values in (block.q, block.v))
    return BlockChannels(q, q, v, block.ffn.sum(0).square())


def _with_latency(values: Tensor, ms: Curve, weight: float, least: int) -> Tensor:
    """Values (width,), or (heads, width) of equal rows, less the worth of the time that each channel saves in turn."""
    row = values.reshape(-1, values.shape[-1])[0]
    ordered, order = row.sort()
    after = torch.tensor([interpolated(ms, width) for width in range(len(row) + 1)], dtype=torch.double)
    left = torch.arange(len(row), 0, -1)  # the width before each cut
    gain = torch.where(left > least, after[left] - after[left - 1], 0.).to(row)
    return torch.empty_like(row).scatter(0, order, (ordered - weight * gain).cummax(0).values)
