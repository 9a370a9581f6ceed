"""Compress a pretrained ViT without training: merges, a calibrated cut of channels, and an export.

Some dozens of unlabelled images are enough. The export loads as a backbone of MMSeg and MMDet configs, and is a
starting point for fine-tuning.
"""
import _early  # noqa: F401  # isort: skip
import argparse
import time

from cait_mm.arch import ARCHS, get_arch
from cait_mm.backbones import BACKBONES
from cait_mm.config.cli import add_json_option, output_file, positive_int, report, run, share, whole_number
from cait_mm.config.load import load_config
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.pruning.compress import compress
from cait_mm.pruning.export import before_after, save_export
from cait_mm.pruning.fold import PAD_TO
from cait_mm.pruning.plan import plan
from cait_mm.spec import Spec, make_spec, parse_merges
from cait_mm.utils.images import find_images

PAPER_MERGES = {
    'deit_tiny': ((4, 'horizontal'), (8, 'vertical')),
    'deit_small': ((4, 'horizontal'), (7, 'vertical')),
    'deit_base': ((4, 'horizontal'), (7, 'vertical')),
    'swin_tiny': (('2.4', 'horizontal'), ('2.5', 'vertical')),
    'swin_small': (('2.7', 'horizontal'), ('2.12', 'vertical')),
}
MERGING_SHARE = 0.8
"""Of a target that is far from the paper's; the paper too gives most of the reduction to merging."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', metavar='CONFIG_OR_ARCH',
                        help=f'a config with a backbone of ours, or {", ".join(ARCHS)}')
    parser.add_argument('checkpoint', help='the dense pretrained weights')
    parser.add_argument('out', type=output_file, help='the export to write')
    parser.add_argument('--target', type=share, required=True, metavar='SHARE',
                        help='the share of all MACs to save, for example 0.505')
    parser.add_argument('--images', required=True, metavar='DIR', help='a folder of images, labels are not needed')
    parser.add_argument('--num-images', type=positive_int, default=64, metavar='N',
                        help='how many of them (default: 64)')
    parser.add_argument('--merge', metavar='BLOCK:KIND,...',
                        help='merges, "" for none (default: the config\'s, or planned for most of the target)')
    parser.add_argument('--align', type=positive_int, default=1, metavar='N', help='leave widths in multiples of N')
    parser.add_argument('--pad-to', type=whole_number, default=PAD_TO, metavar='N',
                        help='zero-pad heads and FFNs to multiples of N, which fast kernels need; 0 leaves the widths '
                        f'as selected (default: {PAD_TO})')
    add_json_option(parser)
    return parser.parse_args()


def full_width_spec(args: argparse.Namespace) -> Spec:
    """The dense architecture with the merges to put in."""
    if args.model in ARCHS:
        arch, merges = args.model, None
    elif args.model.endswith('.py'):
        backbone = load_config(args.model).get('model', {}).get('backbone', {})
        family = next((name for name, kind in BACKBONES.items() if kind.__name__ == backbone.get('type')), None)
        if family is None or 'arch' not in backbone:
            kinds = ', '.join(kind.__name__ for kind in BACKBONES.values())
            raise UserError(f'{args.model} has no backbone with an arch to compress (one of {kinds}).')
        arch, merges = get_arch(backbone['arch'], family), backbone.get('merge', ())
    else:
        raise UserError(f'{args.model} is neither a config file nor one of {", ".join(ARCHS)}.')
    if args.merge is not None:
        merges = parse_merges(args.merge)
    if merges is not None:
        return make_spec(arch, merges)
    paper = make_spec(arch, PAPER_MERGES.get(arch, ()))
    if paper.merges and reduction(paper) < args.target < reduction(paper) + 0.2:
        return paper
    return plan(arch, MERGING_SHARE * args.target)


def main() -> None:
    args, start = parse_args(), time.time()
    spec = full_width_spec(args)
    export, folded = compress(spec, args.checkpoint, find_images(args.images, args.num_images), args.target, args.align,
                              args.pad_to)
    save_export(export, args.out)
    text, result = before_after(spec, folded, args.out)
    report(f'{text}\nin {time.time() - start:.0f} s', result, args.json)


if __name__ == '__main__':
    run(main)
