"""Write a trained classifier, segmentor or backbone as ONNX or as a torch.export program, and check it.

The file takes any number of normalised RGB images (B, 3, H, W) of one size. Its metadata are size, mean and std,
classes and MACs. It is kept only if its outputs equal those of PyTorch. tools/benchmark.py times ONNX files against
configs.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from pathlib import Path
from typing import Any

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
from cait_mm.tasks import load_model
from cait_mm.utils.files import atomic_path
from cait_mm.utils.weights import fitting


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


def load_trained(args: argparse.Namespace, content: Any) -> nn.Module:
    """The config's model with the checkpoint's weights, all of them.

    Raises:
        UserError: The weights do not fit.
    """
    options = {'model.backbone.init_cfg': None, **(args.cfg_options or {})}
    if read_checkpoint(args.checkpoint).is_compressed:
        return load_compressed(args, options)
    if not isinstance(content, dict) or 'state_dict' not in content:
        raise UserError(f'checkpoint {args.checkpoint} was not written by a training of the config: give one that '
                        'tools/train.py wrote, or a compressed one of tools/fold.py or tools/compress.py.')
    model = load_model(args.config, options)
    with fitting(args.checkpoint):
        model.load_state_dict(content['state_dict'])
    return model.eval()


def load_compressed(args: argparse.Namespace, options: dict[str, Any]) -> nn.Module:
    """The classifier in a compressed checkpoint, or with another config a segmentor or detector with its backbone."""
    if is_classifier(load_config(args.config, args.cfg_options)):
        return load_model(args.checkpoint)
    if args.part == 'overall':
        raise UserError(f'{args.checkpoint} is a compressed classifier and holds no trained head of {args.config}: '
                        'give a checkpoint of its training, a compress_* config, or --part backbone.')
    model = load_model(args.config, {**options, 'model.backbone.init_cfg': dict(type='Pretrained',
                                                                                checkpoint=args.checkpoint)})
    model.backbone.init_weights()
    return model.eval()


def main() -> None:
    args = parse_args()
    shape, checkpoint = tuple(args.shape), Path(args.checkpoint)
    content = load_file(args.checkpoint)
    model = load_trained(args, content)
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
