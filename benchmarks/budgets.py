"""Budgets of time and of MACs at equal speed: a real DeiT-Tiny without training, judged as it comes.

For every batch size and speed-up there are two models: one compressed for that speed-up by the latency table, and one
for the share of MACs at which the same table predicts the same time. Both are timed with the dense model in one
interleaved run. Images are those of untrained.py. Finished rows are kept.
"""
import argparse
from collections.abc import Callable
from typing import Any

import torch
from shared import Row, View, finish, keep_rows, machine, read_rows
from untrained import Judge, calibration_images, parser_with_images

import cait_mm
from cait_mm.config.cli import above_one, positive, positive_int, run
from cait_mm.config.outcome import show_measuring
from cait_mm.latency.measure import SECONDS, measure
from cait_mm.latency.table import LatencyTable
from cait_mm.models import Classifier
from cait_mm.utils.files import kept
from cait_mm.utils.speed import conditions, time_interleaved

KEYS = ('batch', 'wanted', 'budget', 'machine')
VIEW: View = {'batch': '{batch}', 'wanted': '{wanted:g}x', 'budget': '{budget}', 'merges': '{merges}',
              'MACs saved': '{saved_percent:.1f} %', 'predicted': '{predicted_speedup:.2f}x',
              'measured': '{speedup:.2f}x ±{half_iqr_percent:.2g} %', 'KL, sharp': '{kl_sharp:.4f}',
              'sharp, 1000 classes': '{top1_sharp:.1f} %', 'KL, small': '{kl_small:.4f}',
              'small, 20 classes': '{top1_small:.1f} %'}
MOST_TRIES = 12


def as_fast(make: Callable[[float], Classifier], table: LatencyTable, ms: float) -> Classifier:
    """The model for the least share of MACs that is predicted to be as fast as ``ms``."""
    low, high, best = 0.02, 0.95, None
    for _ in range(MOST_TRIES):
        share = (low + high) / 2
        try:
            model = make(share)
        except cait_mm.errors.UserError:  # out of reach
            high = share
            continue
        if table.predict(model.spec) <= ms:
            best, high = model, share
        else:
            low = share
    return best


def timed(models: dict[str, Classifier], batch: int, rounds: int) -> dict[str, Any]:
    images = torch.rand(batch, 3, 224, 224)
    timings = time_interleaved({name: lambda model=model: model(images) for name, model in models.items()}, rounds)
    return {name: {'ms': 1000 * timing.median, 'half_iqr_percent': 50 * timing.spread,
                   'speedup': timings['dense'].median / timing.median} for name, timing in timings.items()}


def rows_of(batch: int, speedup: float, judge: Judge, args: argparse.Namespace) -> list[Row]:
    """The rows of a batch size and a speed-up."""
    dense, images = judge.dense, calibration_images(args)
    table = LatencyTable.from_dict(kept(
        args.out / f'table_{batch}.json',
        lambda: measure(dense, batch_size=batch, seconds=args.seconds, progress=show_measuring).to_dict()))
    by_time = cait_mm.compress(dense, images, speedup=speedup, latency=table)
    by_macs = as_fast(lambda share: cait_mm.compress(dense, images, share), table, table.predict(by_time.spec))
    models = {'dense': dense, 'time': by_time, 'MACs': by_macs}
    timings = timed(models, batch, args.rounds)
    return [{'batch': batch, 'wanted': speedup, 'budget': name, **judge(model),
             'merges': ', '.join(map(str, model.spec.merges)).replace('_weighted', ''),
             'predicted_speedup': table.dense / table.predict(model.spec), **timings[name],
             'machine': machine(conditions())} for name, model in models.items()]


def main() -> None:
    parser = parser_with_images(__doc__, 'budgets', per_class=20)
    parser.add_argument('--batches', nargs='+', type=positive_int, default=(1, 32))
    parser.add_argument('--speedups', nargs='+', type=above_one, default=(1.5, 1.75, 2., 2.5))
    parser.add_argument('--rounds', type=positive_int, default=15, help='timed rounds')
    parser.add_argument('--seconds', type=positive, default=SECONDS, help='to spend on each table')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    judge, finished = Judge(cait_mm.load('deit_tiny', args.checkpoint), args), args.out / 'budgets.csv'
    done = read_rows(finished) if finished.is_file() else []
    rows = []
    for batch in args.batches:
        for speedup in args.speedups:
            found = [row for row in done if (row['batch'], row['wanted']) == (batch, speedup)]
            rows += found or rows_of(batch, speedup, judge, args)
            keep_rows(finished, rows, KEYS)
    finish(args, 'budgets', KEYS, (VIEW, rows))


if __name__ == '__main__':
    run(main)
