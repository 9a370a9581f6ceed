"""Top-1 against MACs and measured time: a real DeiT-Tiny compressed without labels, and ToMe.

--sharp and --small as in untrained.py; calibration and tuning see training images of --small alone. Models are timed
only with --time, all in one interleaved run. Finished rows and tuned models are kept.
"""
import argparse
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from shared import Row, View, finish, kept, machine
from untrained import Judge, calibration_images, parser_with_images

import cait_mm
from cait_mm.config.cli import parse_merges, positive_int, run, whole_number
from cait_mm.config.outcome import show_tuning
from cait_mm.models import Classifier
from cait_mm.utils.speed import conditions, time_interleaved

TOME = {'ToMe': (4, 6, 8, 10, 12, 13, 14, 16, 18, 20), 'ToMe, halving': ((8,), (5, 7), (4, 7), (3, 7))}
MERGES = ('7:horizontal,9:vertical', '5:horizontal,8:vertical', '5:horizontal,7:vertical', '4:horizontal,7:vertical',
          '3:horizontal,7:vertical', '3:horizontal,6:vertical')
TARGETS = (0.2, 0.27, 0.35, 0.44, 0.5, 0.55)
MODELS = {('dense', ''): 0.,
          **{(series, str(r)): r for series, values in TOME.items() for r in values},
          **{('merges', merges): merges for merges in MERGES},
          **{('planned', f'{target:.0%}'): target for target in TARGETS}}
"""What a model is made from, by the series that it belongs to and its setting there. *Planned* chooses merges and cuts
channels for a target."""
KEYS = ('series', 'setting', 'steps', 'seed')
VIEW: View = {
    'series': '{series}', 'setting': '{setting}', 'steps': '{steps}', 'seed': '{seed}', 'GMACs': '{gmacs:.3f}',
    'saved': '{saved_percent:.1f} %', 'sharp, 1000 classes': '{top1_sharp:.1f} %',
    'small, 20 classes': '{top1_small:.1f} %', 'speed, batch 1': '{speedup_1:.2f}x| {noisy_1}',
    'batch 32': '{speedup_32:.2f}x| {noisy_32}'}
BATCHES = (1, 32)


def built(series: str, setting: str, args: argparse.Namespace, dense: Classifier, images: torch.Tensor) -> Classifier:
    """The model of a setting, not tuned."""
    made_from = MODELS[series, setting]
    if series in TOME:
        r = made_from if isinstance(made_from, int) else [(block, 'half') for block in made_from]
        return cait_mm.load('deit_tiny', args.checkpoint, tokens=dict(type='ToMe', r=r))
    if series == 'merges':
        return cait_mm.compress(dense, images, target=0.1, merge=parse_merges(made_from))
    return cait_mm.compress(dense, images, target=made_from) if series == 'planned' else dense


def tuned(student: Classifier, dense: Classifier, steps: int, seed: int, path: Path, images: Path) -> Classifier:
    """``student`` after some steps without labels, from ``path`` if it was tuned before."""
    if path.is_file():
        return cait_mm.load(path)
    cait_mm.tune(student, dense, images, steps, seed=seed, checkpoint=path.with_suffix('.tuning'), progress=show_tuning)
    student.save(path)
    return student


def rows_of(names: list[tuple[str, str]], args: argparse.Namespace, dense: Classifier,
            images: torch.Tensor) -> Iterator[Row]:
    """The rows of models that are wanted, one after the other; none is measured twice."""
    judge = Judge(dense, args)

    def measure(series: str, setting: str, steps: int, seed: int) -> Row:
        model, file = built(series, setting, args, dense, images), re.sub(r'\W+', '_', f'{series}_{setting}')
        if steps:
            model = tuned(model, dense, steps, seed, args.out / f'{file}_{steps}_{seed}.pth', args.small / 'train')
        return judge(model)

    wanted = [(*name, steps, seed) for name in names for steps in ((0, *args.steps) if name[0] in args.tuned else (0,))
              for seed in (args.seeds if steps else (0,))]
    return kept(args.out / 'curves.csv', KEYS, wanted, measure, 'top1_small')  # rows may have been timed only


def timed(names: list[tuple[str, str]], args: argparse.Namespace, dense: Classifier, images: torch.Tensor) -> list[Row]:
    """Columns of time for the rows of models that are not tuned, all in one run; the first one is the dense one."""
    models = {'/'.join(name): built(*name, args, dense, images) for name in names}
    rows: list[Row] = [dict(zip(KEYS, (*name, 0, 0)), machine=machine(conditions())) for name in names]
    for batch in BATCHES:
        inputs = images[:1].expand(batch, -1, -1, -1).contiguous()
        timings = time_interleaved({name: partial(model, inputs) for name, model in models.items()}, args.rounds)
        for row, timing in zip(rows, timings.values()):
            row.update({f'ms_{batch}': 1000 * timing.median, f'half_iqr_percent_{batch}': 50 * timing.spread,
                        f'noisy_{batch}': 'noisy' if timing.noisy else '',
                        f'speedup_{batch}': timings['dense/'].median / timing.median})
    return rows


def main() -> None:
    parser = parser_with_images(__doc__, 'curves', per_class=50)
    parser.add_argument('--steps', nargs='*', type=positive_int, default=[], help='tune for as many')
    parser.add_argument('--tuned', nargs='+', default=['merges', 'planned'], choices=['merges', 'planned'])
    parser.add_argument('--settings', nargs='+', help='only these')
    parser.add_argument('--seeds', nargs='+', type=whole_number, default=[0])
    parser.add_argument('--time', action='store_true', help='time the models that are not tuned, on a quiet machine')
    parser.add_argument('--rounds', type=positive_int, default=10)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in MODELS if not (args.settings and name[1]) or name[1] in args.settings]
    dense = cait_mm.load('deit_tiny', args.checkpoint)
    images = calibration_images(args)
    rows = timed(names, args, dense, images) if args.time else list(rows_of(names, args, dense, images))
    finish(args, 'curves', KEYS, (VIEW, rows))


if __name__ == '__main__':
    run(main)
