"""Cut the masked channels of a classifier that was trained with a compress_* config.

The result, a compressed checkpoint, can be used in init_cfg of the upernet_cait_* configs and evaluated by
tools/test.py.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from pathlib import Path

from cait_mm.config.cli import add_json_option, not_negative, output_file, report, run, whole_number
from cait_mm.config.outcome import before_after
from cait_mm.config.screen import add_verbose_option, screen
from cait_mm.pruning.fold import PAD_TO
from cait_mm.pruning.training_checkpoint import fold_training
from cait_mm.utils.files import checkpoint_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='the training checkpoint, or a work directory, of which the newest is taken')
    parser.add_argument('out', type=output_file, help='the compressed checkpoint to write')
    parser.add_argument('--pad-to', type=whole_number, default=PAD_TO, metavar='N',
                        help='zero-pad heads and FFNs to multiples of N, which fast kernels need; 0 leaves the widths '
                        f'as selected (default: {PAD_TO})')
    parser.add_argument('--tolerance', type=not_negative, default=1e-3, metavar='NORM',
                        help='the largest norm of a channel that may be cut (default: 0.001)')
    parser.add_argument('--force', action='store_true', help='cut masked channels of any norm')
    add_verbose_option(parser)
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    tolerance = None if args.force else args.tolerance
    checkpoint = checkpoint_of(args.checkpoint)
    with screen(1, args.verbose, json_path=args.json) as shown, shown.step(f'fold {Path(checkpoint).name}'):
        small = fold_training(checkpoint, tolerance, args.pad_to)
    small.save(args.out)
    text, result = before_after(small, args.out)
    largest = small.provenance.get('largest_cut', 0.)
    text += f'\nthe largest norm of a channel that was cut: {largest:.2g}'
    report(text, {**result, 'largest_cut': largest}, args.json)


if __name__ == '__main__':
    run(main, ('pad_to', 'tolerance'), {'tolerance=None': '--force', 'rule=proximal': 'model.cdcp.rule=proximal'})
