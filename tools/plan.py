"""Choose where to merge for a given reduction of MACs (ATME, paper section III-B)."""
import _early  # noqa: F401  # isort: skip
import argparse

from cait_mm.arch import NAMES, get_arch
from cait_mm.config.cli import above_one, add_json_option, positive_int, report, run, share
from cait_mm.config.outcome import predicted, show_measuring
from cait_mm.latency.cache import measured
from cait_mm.latency.table import LatencyTable, as_speedup, share_of
from cait_mm.macs import classifier_cost
from cait_mm.models import Classifier, classifier_backbone
from cait_mm.pruning.plan import plan
from cait_mm.spec import Spec
from cait_mm.utils.tables import table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arch', metavar='NAME', required=True, help=f'the dense model: {NAMES}')
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument('--target', type=share, metavar='SHARE',
                        help='the share of all MACs to save, for example 0.433')
    budget.add_argument('--speedup', type=above_one, metavar='X',
                        help='instead: how many times as fast the classifier is to be, by measured times: 1.5')
    parser.add_argument('--latency-table', metavar='FILE',
                        help='with --speedup: these times, which tools/latency.py measured here or on another machine '
                        '(default: measure this one for single images, once)')
    parser.add_argument('--shape', nargs=2, type=positive_int, metavar=('H', 'W'),
                        help='plan for this input size in pixels (default: the pretraining size)')
    add_json_option(parser)
    args = parser.parse_args()
    if args.latency_table and not args.speedup:
        parser.error('--latency-table goes with --speedup')
    return args


def timed(args: argparse.Namespace, shape: tuple[int, int] | None) -> tuple[Spec, LatencyTable]:
    """The plan for a speed-up, and the table that it is made by."""
    arch = get_arch(args.arch)
    if args.latency_table:
        table = LatencyTable.from_file(args.latency_table).require(arch, shape or arch.img_size)
    else:
        model = Classifier(classifier_backbone(Spec.dense(arch), img_size=shape))
        table = measured(model, progress=show_measuring)
    return plan(arch, share_of(args.speedup), shape, saved=table.saved, shown=as_speedup), table


def main() -> None:
    args = parse_args()
    shape = tuple(args.shape) if args.shape else None
    spec, latency = timed(args, shape) if args.speedup else (plan(args.arch, args.target, shape), None)
    macs, dense = classifier_cost(spec, shape).macs, classifier_cost(Spec.dense(args.arch), shape).macs
    grids = spec.grids(shape)
    result = {'arch': args.arch, 'target': args.target, 'merge': [list(merge) for merge in spec.merges], 'macs': macs,
              'dense_macs': dense, 'reduction': 1 - macs / dense}
    if latency is not None:
        result['latency'] = latency.prediction(spec)
    rows = [[merge.block, merge.kind, '{}x{}'.format(*grids[place])] for place, merge in spec.placed.items()]
    text = table(['before block (0-based)', 'merge', 'grid after'], rows)
    wanted = f'speed-up {args.speedup:g}' if args.speedup else f'{args.target:.1%}'
    text += (f'\n{predicted(result.get("latency"))}MACs {macs / 1e9:.3f} G of {dense / 1e9:.3f} G: '
             f'{result["reduction"]:.1%} saved (target {wanted}), ideal speed-up {dense / macs:.2f}x'
             f'\nfor a config: merge={tuple(tuple(merge) for merge in spec.merges)}')
    report(text, result, args.json)


if __name__ == '__main__':
    run(main, ('target', 'speedup', 'shape'))
