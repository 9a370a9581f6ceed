"""Compress a pretrained ViT without training: merges, a calibrated cut of channels, and an export.

Some dozens of unlabelled images are enough. The export loads as a backbone of MMSeg and MMDet configs, and is a
starting point for fine-tuning.
"""
import _early  # noqa: F401  # isort: skip
import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cait_mm import tune
from cait_mm.arch import ARCHS, Arch, BlockName, get_arch
from cait_mm.config.cli import (
    add_json_option,
    output_file,
    parse_merges,
    positive_int,
    report,
    run,
    share,
    whole_number,
)
from cait_mm.config.outcome import before_after, show_tuning, told
from cait_mm.errors import UserError
from cait_mm.models import Classifier, load_classifier
from cait_mm.pruning.compress import compress
from cait_mm.pruning.fold import PAD_TO
from cait_mm.pruning.tune import Tuned
from cait_mm.spec import make_spec
from cait_mm.utils.images import find_images, load_batches

Merges = Sequence[tuple[BlockName, str]]


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
    parser.add_argument('--tune', type=whole_number, default=0, metavar='N',
                        help='let the dense model teach the small one for N steps, on all images of --images and '
                        'without labels; some hundreds on some thousands')
    parser.add_argument('--batch-size', type=positive_int, default=32, metavar='N', help='of --tune (default: 32)')
    add_json_option(parser)
    return parser.parse_args()


def load_dense(args: argparse.Namespace) -> tuple[Classifier, Merges | None]:
    """The dense classifier, and where to merge; None leaves that to the target."""
    if args.model in ARCHS:
        arch, merge = get_arch(args.model), None
    elif args.model.endswith('.py'):
        arch, merge = described_backbone(args.model)
    else:
        raise UserError(f'{args.model} is neither a config file nor one of {", ".join(ARCHS)}.')
    if args.merge is not None:
        merge = parse_merges(args.merge)
    make_spec(arch, merge or ())  # what is wrong with it should show before anything is read
    return load_classifier(args.checkpoint, arch), merge


def described_backbone(config: str) -> tuple[Arch, Merges]:
    """Architecture and merges of a config's backbone.

    Raises:
        UserError: It has none of ours.
    """
    from cait_mm.backbones import BACKBONES
    from cait_mm.config.load import load_config
    backbone = load_config(config).get('model', {}).get('backbone', {})
    family = next((name for name, kind in BACKBONES.items() if kind.__name__ == backbone.get('type')), None)
    if family is None or 'arch' not in backbone:
        kinds = ', '.join(kind.__name__ for kind in BACKBONES.values())
        raise UserError(f'{config} has no backbone with an arch to compress (one of {kinds}).')
    arch = get_arch(backbone['arch'], family)
    return replace(arch, in_channels=backbone.get('in_channels') or arch.in_channels), backbone.get('merge', ())


def learned(small: Classifier, dense: Classifier, args: argparse.Namespace) -> Tuned:
    """Tune ``small``. A run that was killed continues from a file beside the export."""
    state = Path(f'{args.out}.tuning')
    result = tune(small, dense, args.images, args.tune, batch_size=args.batch_size, checkpoint=state,
                  progress=show_tuning)
    state.unlink()
    return result


def main() -> None:
    args, start = parse_args(), time.time()
    model, merge = load_dense(args)
    images = load_batches(find_images(args.images, args.num_images), model.spec.arch.img_size[0])
    small = compress(model, images, args.target, merge, args.align, args.pad_to)
    tuned = learned(small, model, args) if args.tune else None
    small.save(args.out)
    text, result = before_after(small, args.out)
    if tuned:
        text, result = f'{text}\n{told(tuned)}', {**result, 'tuned': asdict(tuned)}
    report(f'{text}\nin {time.time() - start:.0f} s', result, args.json)


if __name__ == '__main__':
    run(main, ('target', 'merge', 'align', 'pad_to'))
