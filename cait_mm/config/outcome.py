"""The report of tools/compress.py and tools/fold.py about the compressed checkpoint that they wrote, and of tuning."""
import sys
from pathlib import Path
from typing import Any

from cait_mm.macs import classifier_cost, reduction
from cait_mm.models import Classifier
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
        print(f'tuning: step {now.step} of {now.steps}, distance on images held out {now.distance:.4f}, '
              f'{now.seconds_left:.0f} s left', file=sys.stderr, flush=True)


def told(result: Tuned) -> str:
    """How tuning went, for people."""
    text = (f'tuned without labels: distance from the dense model on {result.held_out} images held out '
            f'{result.before:.4f} => {result.after:.4f}, best after step {result.best_step} of {result.steps}')
    return f'{text}\nnote: {result.note}' if result.note else text
