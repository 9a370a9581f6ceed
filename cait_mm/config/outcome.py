"""The report of tools/compress.py and tools/fold.py about the compressed checkpoint that they wrote, of tuning and of a
search.
"""
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cait_mm.macs import classifier_cost, reduction
from cait_mm.models import Classifier
from cait_mm.pruning.search import Looked
from cait_mm.pruning.tune import Progress, Tuned
from cait_mm.spec import Spec, make_spec
from cait_mm.utils.tables import table


def before_after(small: Classifier, path: str | Path) -> tuple[str, dict[str, Any]]:
    """The changes by compression, for people and as JSON: widths per block, MACs, parameters, the size of the file."""
    after, saved = small.spec, reduction(small.spec)
    before, selected = make_spec(after.arch, after.merges), small.provenance.get('selected_reduction', saved)
    dense, cost = classifier_cost(Spec.dense(before.arch)), classifier_cost(after)
    rows = [[before.arch.block_name(index), str(before.merge_before(index) or '').partition(':')[2],
             f'{full.qk_dim} => {cut.qk_dim}', f'{full.v_dim} => {cut.v_dim}', f'{full.ffn_dim} => {cut.ffn_dim}']
            for index, (full, cut) in enumerate(zip(before.blocks, after.blocks))]
    text = table(['block', 'merge before', 'q, k per head', 'v per head', 'FFN'], rows)
    text += (f'\nMACs {dense.macs / 1e9:.3f} => {cost.macs / 1e9:.3f} G ({1 - cost.macs / dense.macs:.1%} saved), '
             f'parameters {dense.params / 1e6:.2f} => {cost.params / 1e6:.2f} M, '
             f'file {Path(path).stat().st_size / 1e6:.1f} MB')
    if selected != saved:
        text += (f'\nwidths are padded with zeros, which fast kernels need; without it (--pad-to 0) {selected:.1%} of '
                 'the MACs are saved, and less time')
    text += (f'\nuse it: init_cfg=dict(type=\'Pretrained\', checkpoint=\'{path}\'), '
             f'merge={tuple(tuple(merge) for merge in after.merges)}')
    return text, {'out': str(path), 'spec': after.to_dict(), 'macs': cost.macs, 'dense_macs': dense.macs,
                  'params': cost.params, 'dense_params': dense.params, 'reduction': 1 - cost.macs / dense.macs,
                  'selected_reduction': selected}


def show_tuning(now: Progress) -> None:
    """A line on standard error after every look at the images held out, with the time that is left."""
    if now.distance is not None:
        print(f'tuning: step {now.step} of {now.steps}, KL on images held out {now.distance:.4f}, '
              f'{now.seconds_left:.0f} s left', file=sys.stderr, flush=True)


def told(result: Tuned) -> str:
    """How tuning went, for people."""
    text = (f'tuned without labels: KL from the dense model on {result.held_out} images held out {result.before:.4f} '
            f'=> {result.after:.4f}, best after step {result.best_step} of {result.steps}')
    return f'{text}\nnote: {result.note}' if result.note else text


def show_search(now: Looked) -> None:
    """A line on standard error after every placement that was judged, with the time that is left."""
    last, done = now.candidates[-1], len(now.candidates)
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
