"""Figures of a compression run, heads and curves (paper, Fig. 7), and the numbers in them."""
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from cait_mm.pruning.fold import removable
from cait_mm.pruning.selection import BlockChannels

NEAR_ZERO = 1e-3
"""Norm below which a channel counts as near-zero."""
RED, BLUE = '#c44e52', '#4c8bd0'
CURVES = ('cdcp/wanted', 'cdcp/reduction', 'cdcp/masked_norm', 'loss', 'top1')


def read_scalars(work_dir: Path, key: str) -> tuple[list[int], list[float]]:
    """Steps and values of a scalar over all runs in a work directory; a resumed run replaces repeated steps."""
    scalars: dict[int, float] = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        records = [record for record in _records(path) if {key, 'step'} <= record.keys()]
        first = min((record['step'] for record in records), default=0)
        scalars = {step: value for step, value in scalars.items() if step < first}
        scalars.update({record['step']: record[key] for record in records})
    return list(scalars), list(scalars.values())


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of scalars that are whole: a kill may leave a torn one."""
    for line in path.read_text(errors='replace').splitlines():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield {name: value for name, value in record.items() if isinstance(value, (int, float))}


def head_counts(scores: Sequence[BlockChannels], masks: Sequence[BlockChannels],
                planes: str | None = None) -> dict[str, dict[str, list[int]]]:
    """How many channels of every head, block by block, are ``near`` zero and can really be ``cut``, for q, k and v.

    Args:
        scores, masks: Norms and masks of the blocks.
        planes: The architecture's.
    """
    cuts = [removable(mask, score, planes) for mask, score in zip(masks, scores)]
    return {module: {
        'near': torch.cat([(getattr(score, module) < NEAR_ZERO).sum(1) for score in scores]).tolist(),
        'cut': torch.cat([(~getattr(stays, module)).sum(1) for stays in cuts]).tolist()} for module in 'qkv'}


def channels_per_head(runs: Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]]) -> Figure:
    """Near-zero and really cut channels of every head, a row of panels for each run (Fig. 7).

    Args:
        runs: :func:`head_counts` by name of the run. With both consistencies near zero and cut agree.
    """
    figure = Figure(figsize=(9, 2.4 * len(runs)), layout='constrained')
    rows = figure.subplots(len(runs), 3, squeeze=False, sharex=True)
    for row, (name, counts) in zip(rows, runs.items()):
        for axes, module in zip(row, 'qkv'):
            heads = np.arange(len(counts[module]['near']))
            axes.bar(heads, counts[module]['near'], 1., color=RED, label='near zero')
            axes.bar(heads, counts[module]['cut'], 1., color=BLUE, label='cut')
            axes.set(title=f'{name}: {module}' if name else module, xlabel='head, block by block', ylabel='channels')
    figure.legend(*rows[0][0].get_legend_handles_labels(), ncols=2, loc='outside upper right')
    return figure


def read_curves(work_dir: Path) -> dict[str, tuple[list[int], list[float]]]:
    """The scalars of a run that :func:`curves` draws, each as steps and values."""
    return {key: read_scalars(work_dir, key) for key in CURVES}


def curves(scalars: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """The ramp, the largest masked norm, the loss and the accuracy of a run, over its iterations.

    Args:
        scalars: As :func:`read_curves` gives them.
    """
    figure = Figure(figsize=(9, 5), layout='constrained')
    (ramp, norm), (loss, top1) = figure.subplots(2, 2)
    for key, colour, label in (('cdcp/wanted', 'grey', 'wanted'), ('cdcp/reduction', BLUE, 'reached')):
        steps, values = scalars[key]
        ramp.plot(steps, 100 * np.array(values), color=colour, label=label, marker=_marker(steps))
    ramp.set(title='MACs saved, %')
    ramp.legend()
    for axes, key, title in ((norm, 'cdcp/masked_norm', 'largest norm of a masked channel'), (loss, 'loss', 'loss'),
                             (top1, 'top1', 'top-1, % (by epoch)')):
        axes.plot(*scalars[key], color=BLUE, marker=_marker(scalars[key][0]))
        axes.set(title=title)
    return figure


def _marker(steps: Sequence[int]) -> str:
    """Dots where there are few: a line through one point is invisible."""
    return '.' if len(steps) <= 30 else ''


def describe(masks: Sequence[BlockChannels], scores: Sequence[BlockChannels],
             planes: str | None = None) -> dict[str, Any]:
    """How many q, k and v channels are near zero, masked, and can really be cut; ``planes`` is the architecture's."""
    near = masked = cut = total = 0
    for mask, score in zip(masks, scores):
        real = removable(mask, score, planes)
        for name in 'qkv':
            near += int((getattr(score, name) < NEAR_ZERO).sum())
            masked += int((~getattr(mask, name)).sum())
            cut += int((~getattr(real, name)).sum())
            total += getattr(mask, name).numel()
    return {'attention_channels': total, 'near_zero': near, 'masked': masked, 'cut': cut}
