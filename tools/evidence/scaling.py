"""MACs, time and memory of a DeiT backbone against input side, batch and merges: a table and one plot.

Every point times all numbers of merges in one interleaved run. Time should grow as the closed-form MACs do: the last
column is the time per MAC against that of the first row, 1 where it does. Random weights.
"""
import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.speed import conditions, peak_memory, time_interleaved
from cait_mm.backbones import CAITDeiT
from cait_mm.config.cli import add_json_option, positive_int, report, run
from cait_mm.macs import backbone_cost
from cait_mm.utils.files import atomic_path
from cait_mm.utils.tables import table

MERGES: dict[str, tuple[tuple[int, str], ...]] = {
    'dense': (),
    '1 merge': ((4, 'horizontal'),),
    '2 merges': ((4, 'horizontal'), (7, 'vertical')),
    '3 merges': ((3, 'horizontal'), (5, 'vertical'), (8, 'horizontal')),
}


def point(side: int, batch: int, args: argparse.Namespace, mode: Mode) -> list[dict[str, Any]]:
    """All numbers of merges on ``batch`` images of ``side`` x ``side``."""
    models = {name: mode.prepare(CAITDeiT(args.arch, merge, img_size=side).eval()) for name, merge in MERGES.items()}
    images = mode.batch(batch, side, side)
    calls = {name: partial(model, images) for name, model in models.items()}
    with mode.running():
        timings = time_interleaved(calls, args.rounds, device=mode.device)
        with torch.inference_mode():
            memory = {name: peak_memory(call, mode.device) for name, call in calls.items()}
    return [{'side': side, 'batch': batch, 'merges': name, 'seconds': timing.median, 'spread': timing.spread,
             'macs': batch * backbone_cost(models[name].spec, (side, side)).macs, 'memory': memory[name]}
            for name, timing in timings.items()]


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Seconds against MACs, a line for each number of merges, of the sides left and of the batches right."""
    figure = Figure(figsize=(9, 4), layout='constrained')
    axes = figure.subplots(1, 2)
    for axis, key in zip(axes, ('side', 'batch')):
        chosen = [item for item in points if item['varied'] == key]
        for name in MERGES:
            line = [item for item in chosen if item['merges'] == name]
            axis.loglog([item['macs'] / 1e9 for item in line], [item['seconds'] for item in line], 'o-', label=name)
        axis.set(xlabel='GMACs', ylabel='seconds', title=f'varied {key}')
    axes[0].legend()
    with atomic_path(path) as target:
        figure.savefig(target, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='deit_small', choices=('deit_tiny', 'deit_small', 'deit_base'))
    parser.add_argument('--sides', type=positive_int, nargs='+', default=[224, 320, 448, 672, 896, 1344])
    parser.add_argument('--batches', type=positive_int, nargs='+', default=[1, 4, 16, 64])
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rounds', type=positive_int, default=5)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/scaling'), help='folder of the plot')
    add_json_option(parser)
    args = parser.parse_args()
    mode = Mode(args.device)
    points: list[dict[str, Any]] = []
    for varied, grid in (('side', [(side, 1) for side in args.sides]),
                         ('batch', [(args.sides[0], batch) for batch in args.batches])):
        for side, batch in grid:
            points += [{**item, 'varied': varied} for item in point(side, batch, args, mode)]
    first = points[0]['seconds'] / points[0]['macs']
    rows = [[str(item['side']), str(item['batch']), item['merges'], f'{item["macs"] / 1e9:.1f}',
             f'{1000 * item["seconds"]:.1f} ms', f'{item["memory"] / 2**20:.0f} MiB',
             f'{item["seconds"] / item["macs"] / first:.2f}'] for item in points]
    draw(points, args.out / 'scaling.png')
    text = table(['side', 'batch', 'merges', 'GMACs', 'median', 'memory at most', 'time per MAC'], rows)
    machine = conditions(mode.device)
    report(f'{text}\n{", ".join(f"{key} {value}" for key, value in machine.items())}\n{args.out / "scaling.png"}',
           {'conditions': machine, 'points': points}, args.json)


if __name__ == '__main__':
    run(main)
