"""The result of tools/compress.py and tools/fold.py in words: the compressed checkpoint, a search, and how tuning went.
"""
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cait_mm.config.cli import as_options
from cait_mm.config.screen import At
from cait_mm.latency.measure import Measured
from cait_mm.macs import classifier_cost
from cait_mm.models import Classifier
from cait_mm.models.summary import Summary
from cait_mm.pruning.search import Looked
from cait_mm.pruning.tune import Progress, Tuned
from cait_mm.spec import Spec
from cait_mm.utils.tables import table


def before_after(small: Classifier, path: str | Path) -> tuple[str, dict[str, Any]]:
    """The changes by compression, for people and as JSON: widths per block, MACs, parameters, the size of the file.

    MACs are counted at the image size of the architecture and with 1000 classes, as the target is.
    """
    spec, selected = small.spec, small.provenance.get('selected_reduction')
    dense = Spec.dense(spec.arch)
    shown = Summary(dense, spec, classifier_cost(dense), classifier_cost(spec), selected)
    text = (f'{as_options(str(shown), ("pad_to", ))}\nfile: {Path(path).stat().st_size / 1e6:.1f} MB'
            f'\nuse it: init_cfg=dict(type=\'Pretrained\', checkpoint=\'{path}\'), '
            f'merge={tuple(tuple(merge) for merge in spec.merges)}')
    return text, {'out': str(path), 'spec': spec.to_dict(), 'macs': shown.cost_after.macs,
                  'dense_macs': shown.cost_before.macs, 'params': shown.cost_after.params,
                  'dense_params': shown.cost_before.params, 'reduction': shown.reduction,
                  'selected_reduction': shown.reduction if selected is None else selected}


def show_tuning(now: Progress, at: At | None = None) -> None:
    """Print a line on standard error after every look at the held-out images, with the time that is left; every step is
    shown by ``at``.
    """
    if at is not None:
        at(now.step, now.steps, 'steps')
    if now.distance is not None:
        print(f'tuning: step {now.step} of {now.steps}, distance on images held out {now.distance:.4f}, '
              f'{now.seconds_left:.0f} s left', file=sys.stderr, flush=True)


def told(result: Tuned) -> str:
    """How tuning went, for people."""
    text = (f'tuned without labels: distance from the dense model on {result.held_out} images held out '
            f'{result.before:.4f} => {result.after:.4f}, best after step {result.best_step} of {result.steps}')
    return f'{text}\nnote: {result.note}' if result.note else text


def show_measuring(now: Measured, at: At | None = None) -> None:
    """A line on standard error after every tenth of the forward passes that are timed, with the time that is left;
    ``at`` shows it too.
    """
    if at is not None:
        at(now.done, now.count, 'timed passes')
    if now.done * 10 // now.count > (now.done - 1) * 10 // now.count:
        print(f'measuring: {now.done} of {now.count} passes, {now.seconds_left:.0f} s left', file=sys.stderr,
              flush=True)


def predicted(latency: Mapping[str, Any] | None) -> str:
    """What a latency table predicts for a compressed model (``provenance['latency']``), for people."""
    if latency is None:
        return ''
    where = latency['conditions']
    machine = ', '.join(str(where[key]) for key in ('device', 'CPU', 'runtime', 'dtype') if key in where)
    return (f'predicted: {latency["dense_ms"]:.4g} ms => {latency["ms"]:.4g} ms for {where.get("batch_size", "?")} '
            f'images ({latency["dense_ms"] / latency["ms"]:.2f}x), on {machine}, {where.get("threads", "?")} threads\n')


def show_search(now: Looked, at: At | None = None) -> None:
    """A line on standard error after every placement that was judged, with the time that is left; ``at`` shows it too.
    """
    last, done = now.candidates[-1], len(now.candidates)
    if at is not None:
        at(done, now.count, 'placements', f'the last one {last.damage:.4f}')
    print(f'search: {done} of {now.count}, {last.damage:.4f} for {_places(last.merges)}, {now.seconds_left:.0f} s left',
          file=sys.stderr, flush=True)


def ranked(record: Mapping[str, Any] | None, most: int = 5) -> str:
    """The best placements of a search (``provenance['search']``) as a table; nothing where there was none."""
    if record is None:
        return ''
    found, images = record['candidates'], 'held out' if record['held_out'] else 'also calibrated on, as they are few'
    marks = {1: ' (the rule)', record['chosen']: ' (taken)'}
    rows = [[_places(one['merges']) + marks.get(one['number'], ''), f'{one["merging"]:.1%}', f'{one["reduction"]:.1%}',
             f'{one["damage"]:.4f}', f'{one["gain"]:.4f} +- {one["gain_error"]:.4f}'] for one in found[:most]]
    return (f'the best of {len(found)} placements by the {record["measure"]} on {record["images"]} images {images}:\n'
            + table(['merges', 'they save', 'saved', record['measure'], 'less than the rule\'s by'], rows)
            + ('\nnone is surely better than the rule, which stays\n' if record['chosen'] == 1 else '\n'))


def _places(merges: Sequence[Sequence[Any]]) -> str:
    return ', '.join(f'{block}:{kind}' for block, kind in merges) or 'none'
