"""The result of tools/compress.py and tools/fold.py in words: the compressed checkpoint, and how tuning went."""
import sys
from pathlib import Path
from typing import Any

from cait_mm.config.cli import as_options
from cait_mm.macs import classifier_cost
from cait_mm.models import Classifier
from cait_mm.models.summary import Summary
from cait_mm.pruning.tune import Progress, Tuned
from cait_mm.spec import Spec


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


def show_tuning(now: Progress) -> None:
    """Print a line on standard error after every look at the held-out images, with the time that is left."""
    if now.distance is not None:
        print(f'tuning: step {now.step} of {now.steps}, distance on images held out {now.distance:.4f}, '
              f'{now.seconds_left:.0f} s left', file=sys.stderr, flush=True)


def told(result: Tuned) -> str:
    """How tuning went, for people."""
    text = (f'tuned without labels: distance from the dense model on {result.held_out} images held out '
            f'{result.before:.4f} => {result.after:.4f}, best after step {result.best_step} of {result.steps}')
    return f'{text}\nnote: {result.note}' if result.note else text
