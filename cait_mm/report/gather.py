"""Everything that a page shows of a pair of models, measured: plain types, which JSON holds."""
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import torch

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.errors import UserError, reason_of
from cait_mm.models.base import backbone_inside
from cait_mm.report import boxes, classes, pixels, speed
from cait_mm.report.attention import attention_of
from cait_mm.report.encoding import jpeg, owners_as_bytes
from cait_mm.report.facts import checksum, command, machine_rows
from cait_mm.report.pair import Pair
from cait_mm.report.tokens import stages
from cait_mm.spec import Spec
from cait_mm.tasks import Classification, Segmentation, parts_of, task_of

SHOWN = 10
"""How many predictions a page shows, those that differ most."""
KINDS = {Classification: 'classifier', Segmentation: 'segmentor'}


def gather(pair: Pair, shown: int = SHOWN) -> dict[str, Any]:
    """Measure a pair. What cannot be measured is named under ``missing``, with the reason, and takes nothing else
    along.
    """
    backbone = backbone_inside(pair.small)
    data = {'name': pair.name, 'arch': backbone.arch.name, 'size': list(pair.size), 'missing': [],
            'kind': KINDS.get(type(task_of(pair.small)), 'detector'),
            'weights': pair.weights and checksum(pair.weights)}
    parts: dict[str, Callable[[], Mapping[str, Any]]] = {
        'sizes': lambda: {'counts': pair.counts or counted(pair)},
        'widths': lambda: {'blocks': block_rows(backbone.spec, pair.size, len(backbone.flat_blocks()))},
        'the tokens on a picture': lambda: {'tokens': tokens_of(pair)},
        'attention': lambda: {'attention': attentions(pair)},
        'speed': lambda: {} if 'speed' in pair.measured else {'speed': speed.compare(*timed(pair))},
        'where the time goes': lambda: {'spent': speed.spent(*timed(pair))},
        'predictions': lambda: compared(pair, shown),
    }
    for name, part in parts.items():
        try:
            data.update(part())
        except Exception as error:  # one part must not take the others along
            data['missing'].append(f'{name}: {reason_of(error)}')
    data.update(pair.measured, quality=joined(pair.measured.get('quality', ()), data.get('quality', ())))
    made = datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC')
    data['facts'] = {**{heading: [[key, str(value)] for key, value in rows] for heading, rows in pair.facts.items()},
                     'This report': [['made', made], ['command', command()]],
                     'Machine and versions': [[key, str(value)] for key, value in machine_rows()]}
    data['texts'] = dict(pair.texts)
    return data


def joined(known: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of quality: those known already, of whole data, before those of the pictures that were looked at."""
    return [*known, *(row for row in found if row['what'] not in {one['what'] for one in known})]


def counted(pair: Pair) -> dict[str, dict[str, dict[str, int]]]:
    """MACs and parameters of the whole models, and of segmentors' and detectors' backbones."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, model in (('dense', pair.dense), ('small', pair.small)):
        image = torch.rand(1, backbone_inside(model).arch.in_channels, *pair.size)
        counts[name] = {part: {'macs': count_macs(module, (image, ))[''], 'params': count_params(module)}
                        for part, module in parts_of(model, ('backbone', 'overall')).items()}
    return counts


def block_rows(spec: Spec, size: tuple[int, int], depth: int) -> list[dict[str, Any]]:
    """The widths and tokens of every block that is built, dense and compressed."""
    dense = Spec.dense(spec.arch)
    prefix, grid = spec.arch.prefix_tokens(), spec.arch.grid(size)
    counts = [[step.attention - prefix for step in one.reducer.counts(spec.arch, one.blocks, grid, prefix)]
              for one in (dense, spec)]
    rows = []
    for index in range(depth):
        full, cut = dense.blocks[index], spec.blocks[index]
        merge = spec.merge_before(index)
        rows.append({'block': str(spec.arch.block_name(index)), 'merge': merge.kind if merge else None,
                     'tokens': [one[index] for one in counts], 'heads': cut.num_heads,
                     **{name: [getattr(full, name), getattr(cut, name)] for name in ('qk_dim', 'v_dim', 'ffn_dim')}})
    return rows


def tokens_of(pair: Pair) -> dict[str, Any]:
    """The shown picture and the tokens on it, from step to step.

    Raises:
        UserError: There is no picture.
    """
    picture, image = shown_of(pair)
    found = stages(backbone_inside(pair.small), image)
    return {'picture': jpeg(picture), 'rows': found[0].owners.shape[0], 'columns': found[0].owners.shape[1],
            'stages': [{'title': stage.title, 'count': stage.count, 'grid': stage.grid and list(stage.grid),
                        'owners': owners_as_bytes(stage.owners)} for stage in found]}


def attentions(pair: Pair) -> dict[str, Any]:
    """Attention in the last block of both models on the shown picture.

    Raises:
        UserError: It cannot be shown.
    """
    _, image = shown_of(pair)
    if not pair.trained:
        raise UserError('the dense model\'s weights are not at hand')
    first, second = (attention_of(backbone_inside(model), image) for model in (pair.dense, pair.small))
    return {'dense': first, 'small': second, 'block': str(backbone_inside(pair.small).arch.block_name(
        len(backbone_inside(pair.small).flat_blocks()) - 1))}


def shown_of(pair: Pair) -> tuple[Any, torch.Tensor]:
    if pair.shown is None:
        raise UserError('there is no picture')
    return pair.shown


def timed(pair: Pair) -> tuple[Any, Any, torch.Tensor]:
    """Both models and the image that they are timed on: a real one, as its content decides how many boxes a detector
    has.
    """
    image = torch.rand(1, backbone_inside(pair.small).arch.in_channels, *pair.size)
    return pair.dense, pair.small, image if pair.shown is None else pair.shown[1]


def compared(pair: Pair, shown: int) -> dict[str, Any]:
    """The predictions of both.

    Raises:
        UserError: There is nothing to compare.
    """
    if not pair.trained:
        raise UserError('the dense model\'s weights are not at hand')
    if not pair.cases and not pair.inputs:
        raise UserError('there are no pictures')
    task = type(task_of(pair.small))
    if task is Classification:
        return classes.compare(pair.dense, pair.small, pair.cases, pair.names, shown)
    if task is Segmentation:
        return pixels.compare(pair.dense, pair.small, pair.inputs, pair.names, pair.palette, shown)
    return boxes.compare(pair.dense, pair.small, pair.inputs, pair.names, shown)
