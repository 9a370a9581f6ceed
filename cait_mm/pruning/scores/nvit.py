"""NViT's Hessian-aware saliency with its latency term (CVPR 2023; github.com/NVlabs/NViT, method 23).

The square of a group's first-order term estimates its share of the loss through the Fisher matrix. A group is channel i
of the queries in *all* heads, or of the values: its weights in every head are summed before the square, so the score is
one per index and head-level consistency is part of the method. Keys follow the queries and are not scored.

A latency table turns on the second term: cutting a channel is worth ``weight`` times the seconds that it saves. Its
code cuts a few channels at a time and reads the table at the widths reached; here the i-th least important channel of
a module is judged at the width that it finds, and never goes before the ones below it. That is the same order.

Left out: whole heads and the embedding, which NViT cuts too; the distillation and the updates of weights between cuts,
with the momentum of scores over them. Scores depend on the size of batches, as its do.
"""
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.errors import UserError, reason_of
from cait_mm.pruning.scores.first_order import means, terms
from cait_mm.pruning.scores.task import Batch
from cait_mm.pruning.selection import BlockChannels
from cait_mm.utils.inputs import read_text
from cait_mm.utils.schema import is_number

LOGGER = logging.getLogger('cait_mm')
WEIGHT = 5e-4
"""Of a second saved, as in its commands. Scores have the scale of the loss, so another loss may want another weight."""
LEAST = {'qk': 8, 'v': 8, 'ffn': 16}
"""Modules of this width and below get nothing for latency."""
Table = Mapping[str, Mapping[int | str, float]]


def nvit(model: nn.Module, batches: Sequence[Batch], latency: None | str | os.PathLike | Table = None,
         weight: float = WEIGHT) -> list[BlockChannels]:
    """The mean over batches of the squared term of every group, less what its latency is worth.

    Args:
        model, batches: As all scores.
        latency: Milliseconds of a block by the width of one module, the others at full width: ``{'qk': {1: 1.5, 64:
            1.9}, 'v': {...}, 'ffn': {...}}``, widths of q, k and v per head; between them it is linear. Or the path of
            a JSON file that holds this. None leaves the term out.
        weight: See :data:`WEIGHT`.

    Raises:
        UserError: The table cannot be read, lacks a kind, or does not reach from 1 to the full width.
    """
    importance = means([_squared(block) for block in batch] for batch in terms(model, batches))
    if latency is None:
        LOGGER.info('NViT has no latency table, so its score is the saliency alone.')
        return importance
    table = _read(latency)
    return [BlockChannels(*(_with_latency(values, *table[kind], weight / 1000, LEAST[kind]).expand_as(values)
                            for kind, (_, values) in zip(('qk', 'qk', 'v', 'ffn'), block.items())))
            for block in importance]


def _squared(block: BlockChannels) -> BlockChannels:
    """Terms (B, heads, width) and (B, hidden) of a batch as the groups' scores."""
    q, v = ((values.sum((0, 1)) / 2).square().expand(values.shape[1:]) for values in (block.q, block.v))
    return BlockChannels(q, q, v, block.ffn.sum(0).square())


def _with_latency(values: Tensor, widths: Tensor, ms: Tensor, weight: float, least: int) -> Tensor:
    """Values (width,), or (heads, width) of equal rows, less the worth of the time that each channel saves in turn."""
    row = values.reshape(-1, values.shape[-1])[0]
    if widths[-1] < len(row) or widths[0] > 1:
        raise UserError(f'the latency table has the widths {widths[0]:g} to {widths[-1]:g}, and 1 to {len(row)} are '
                        'wanted.')
    ordered, order = row.sort()
    left = torch.arange(len(row), 0, -1)  # the width before each cut
    after = _linear(torch.arange(len(row) + 1).clamp(min=1), widths, ms)
    gain = torch.where(left > least, after[left] - after[left - 1], 0.).to(row)
    return torch.empty_like(row).scatter(0, order, (ordered - weight * gain).cummax(0).values)


def _linear(at: Tensor, widths: Tensor, ms: Tensor) -> Tensor:
    """Linear interpolation at whole numbers (n,) within the table."""
    upper = torch.searchsorted(widths, at.to(widths)).clamp(1, len(widths) - 1)
    share = (at - widths[upper - 1]) / (widths[upper] - widths[upper - 1])
    return ms[upper - 1] + share * (ms[upper] - ms[upper - 1])


def _read(latency: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Widths, ascending, and milliseconds of every kind, in double precision."""
    table = latency if isinstance(latency, Mapping) else _loaded(latency)
    result = {}
    for kind in LEAST:
        given = table.get(kind) if isinstance(table, Mapping) else None
        pairs = sorted(given.items(), key=lambda pair: int(pair[0])) if _whole(given) else []
        if len(pairs) < 2 or not all(is_number(ms) for _, ms in pairs):
            raise UserError('the latency table wants milliseconds at two widths or more of each of '
                            f'{", ".join(LEAST)}; those of {kind} are missing or no numbers.')
        result[kind] = tuple(torch.tensor(part, dtype=torch.double) for part in zip(*((int(w), ms) for w, ms in pairs)))
    return result


def _loaded(path: str | os.PathLike) -> Any:
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f'the latency table {path} is no readable JSON ({reason_of(error)}).') from error


def _whole(given: Any) -> bool:
    """Whether the keys of a table are whole numbers, each once."""
    return (isinstance(given, Mapping) and all(str(width).isdigit() for width in given)
            and len({int(width) for width in given}) == len(given))
