"""Choose where to merge for a given reduction of MACs (ATME, paper section III-B)."""
import _early  # noqa: F401  # isort: skip
import argparse

from cait_mm.arch import NAMES
from cait_mm.config.cli import add_json_option, positive_int, report, run, share
from cait_mm.macs import classifier_cost
from cait_mm.pruning.plan import plan
from cait_mm.spec import Spec
from cait_mm.utils.tables import table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arch', metavar='NAME', required=True, help=f'the dense model: {NAMES}')
    parser.add_argument('--target', type=share, required=True, metavar='SHARE',
                        help='the share of all MACs to save, for example 0.433')
    parser.add_argument('--shape', nargs=2, type=positive_int, metavar=('H', 'W'),
                        help='plan for this input size in pixels (default: the pretraining size)')
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    shape = tuple(args.shape) if args.shape else None
    spec = plan(args.arch, args.target, shape)
    macs, dense = classifier_cost(spec, shape).macs, classifier_cost(Spec.dense(args.arch), shape).macs
    grids = spec.grids(shape)
    result = {'arch': args.arch, 'target': args.target, 'merge': [list(merge) for merge in spec.merges], 'macs': macs,
              'dense_macs': dense, 'reduction': 1 - macs / dense}
    rows = [[merge.block, merge.kind, '{}x{}'.format(*grids[place])] for place, merge in spec.placed.items()]
    text = table(['before block (0-based)', 'merge', 'grid after'], rows)
    text += (f'\nMACs {macs / 1e9:.3f} G of {dense / 1e9:.3f} G: {result["reduction"]:.1%} saved '
             f'(target {args.target:.1%}), ideal speed-up {dense / macs:.2f}x'
             f'\nfor a config: merge={tuple(tuple(merge) for merge in spec.merges)}')
    report(text, result, args.json)


if __name__ == '__main__':
    run(main, ('target', 'shape'))
