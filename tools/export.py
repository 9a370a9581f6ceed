"""Write a trained classifier, segmentor or backbone as ONNX or as a torch.export program, and check it.

The file takes any number of normalised RGB images (B, 3, H, W) of one size. Its metadata are size, mean and std,
classes and MACs. It is kept only if its outputs equal those of PyTorch. tools/benchmark.py times ONNX files against
configs.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from pathlib import Path

import torch
from torch import nn

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.config.cli import add_json_option, output_file, positive_int, report, run
from cait_mm.config.load import is_classifier, load_config
from cait_mm.config.options import add_cfg_options
from cait_mm.deploy import (
    PARTS,
    SUFFIXES,
    TOLERANCE,
    about_model,
    deployable,
    difference,
    load_saved,
    save_onnx,
    save_program,
)
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import load_file, read_checkpoint
from cait_mm.tasks import load_model, load_trained
from cait_mm.utils.files import atomic_path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='a checkpoint of its training, or a compressed one of tools/fold.py')
    parser.add_argument('--format', choices=list(SUFFIXES), default='onnx')
    parser.add_argument('--part', type=part_of, choices=PARTS, default='overall',
                        help='the whole model or its backbone (default: overall)')
    parser.add_argument('--shape', nargs=2, type=positive_int, required=True, metavar=('H', 'W'), help='pixels')
    parser.add_argument('--out', type=output_file, metavar='FILE', help='default: next to the checkpoint')
    add_cfg_options(parser)
    add_json_option(parser)
    return parser.parse_args()


def part_of(word: str) -> str:
    """The part of a model; ``whole`` is the name of ``overall`` in earlier versions."""
    return 'overall' if word == 'whole' else word


def load(args: argparse.Namespace) -> nn.Module:
    """The config's model with the checkpoint's weights; of a compressed classifier another model takes its backbone.

    Raises:
        UserError: The weights do not fit.
    """
    compressed = args.part == 'backbone' and read_checkpoint(args.checkpoint).is_compressed
    if not compressed or is_classifier(load_config(args.config, args.cfg_options)):
        return load_trained(args.config, args.checkpoint, args.cfg_options)
    init_cfg = dict(type='Pretrained', checkpoint=args.checkpoint)
    model = load_model(args.config, {**(args.cfg_options or {}), 'model.backbone.init_cfg': init_cfg})
    model.backbone.init_weights()
    return model.eval()


def main() -> None:
    args = parse_args()
    shape, checkpoint = tuple(args.shape), Path(args.checkpoint)
    content, model = load_file(args.checkpoint), load(args)
    module = deployable(model, args.part)
    macs = count_macs(module, (torch.rand(1, module.in_channels, *shape),))['']
    classes = (content.get('meta') or {}).get('dataset_meta') or {}
    about = about_model(args.part, shape, macs, count_params(module), getattr(model, 'data_preprocessor', None),
                        classes.get('classes'))
    out = args.out or checkpoint.with_name(f'{checkpoint.stem}_{args.part}{SUFFIXES[args.format]}')
    with atomic_path(out) as trial:
        (save_onnx if args.format == 'onnx' else save_program)(module, shape, trial, about)
        apart = difference(module, load_saved(trial, args.format), shape)
        if not apart <= TOLERANCE:
            raise UserError(f'{args.format} computes something else: outputs differ by {apart:.1e}, more than '
                            f'{TOLERANCE:.0e}; nothing was kept.')
        megabytes = trial.stat().st_size / 1e6
    text = (f'{out}: {args.part}, {shape[0]}x{shape[1]}, {macs / 1e9:.2f} GMACs, {megabytes:.1f} MB; '
            f'differs from PyTorch by {apart:.1e} at most.')
    report(text, {'file': str(out), 'difference': apart, **about}, args.json)


if __name__ == '__main__':
    run(main, ('part', 'shape'))
