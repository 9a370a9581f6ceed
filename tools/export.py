"""Write a trained classifier, segmentor or backbone as ONNX or as a torch.export program, and check it.

The file takes any number of normalised RGB images (B, 3, H, W) of one size. Its metadata are size, mean and std,
classes and MACs. It is kept only if its outputs equal those of PyTorch. tools/benchmark.py times ONNX files against
configs.
"""
import _early  # noqa: F401  # isort: skip
import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.compression.images import load_crops
from cait_mm.config.cli import add_json_option, output_file, positive_int, report, run
from cait_mm.config.load import is_classifier, load_config
from cait_mm.config.options import add_cfg_options
from cait_mm.deploy import (
    PARTS,
    SUFFIXES,
    TOLERANCE,
    OnnxModel,
    about_model,
    compared,
    deployable,
    difference,
    load_saved,
    save_int8,
    save_onnx,
    save_program,
)
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import load_file, read_checkpoint
from cait_mm.tasks import load_model, load_trained
from cait_mm.utils.files import atomic_path
from cait_mm.utils.images import find_images, load_batches
from cait_mm.utils.speed import time_interleaved


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='a checkpoint of its training, or a compressed one of tools/fold.py')
    parser.add_argument('--format', choices=list(SUFFIXES), default='onnx')
    parser.add_argument('--part', type=part_of, choices=PARTS, default='overall',
                        help='the whole model or its backbone (default: overall)')
    parser.add_argument('--shape', nargs=2, type=positive_int, required=True, metavar=('H', 'W'), help='pixels')
    parser.add_argument('--out', type=output_file, metavar='FILE', help='default: next to the checkpoint')
    parser.add_argument('--int8', metavar='DIR_OR_LIST',
                        help='also write FILE_int8.onnx, in 8 bits: half of these images calibrate it, the model is '
                        'compared with it on the others')
    parser.add_argument('--num-images', type=positive_int, default=64, metavar='N',
                        help='how many of them (default: %(default)s)')
    add_cfg_options(parser)
    add_json_option(parser)
    args = parser.parse_args()
    if args.int8 and args.format != 'onnx':
        parser.error('--int8 goes with --format onnx')
    return args


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


def pictures(args: argparse.Namespace, shape: tuple[int, int]) -> list[torch.Tensor]:
    """Single images of --int8, (1, C, H, W), normalised as in the config's training."""
    paths, config = find_images(args.int8, args.num_images), load_config(args.config, args.cfg_options)
    if len(paths) < 2:
        raise UserError(f'{args.int8} holds one image: half of them calibrate and half judge, so give some dozens.')
    if is_classifier(config):
        return list(load_batches(paths, shape, batch_size=1))
    return list(load_crops(config, list(map(str, paths)), shape, batch_size=1))


def in_int8(args: argparse.Namespace, path: Path, module: nn.Module, shape: tuple[int, int]) -> dict[str, Any]:
    """Write the 8-bit file next to the one in ``path``; how far it is from it, and how fast."""
    images, target = pictures(args, shape), path.with_name(f'{path.stem}_int8{path.suffix}')
    save_int8(path, target, images[::2])
    models = {'float32': OnnxModel(path), 'int8': OnnxModel(target)}
    timings = time_interleaved({name: partial(model, images[1]) for name, model in models.items()})
    return {'file': str(target), 'megabytes': target.stat().st_size / 1e6,
            **compared(module, models['int8'], images[1::2], args.part == 'overall'),
            'speedup': timings['float32'].median / timings['int8'].median, 'spread': timings['int8'].spread}


def told(int8: dict[str, Any]) -> str:
    """The 8-bit file, for people."""
    agreement = f', the same arg-max in {int8["agreement"]:.1%}' if 'agreement' in int8 else ''
    return (f'\n{int8["file"]}: 8 bits, {int8["megabytes"]:.1f} MB, {int8["speedup"]:.2f}x as fast as in 32 bits for '
            f'single images; on images that it was not calibrated on {int8["error"]:.1%} away{agreement}.')


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
    result = {'file': str(out), 'difference': apart, **about}
    if args.int8:
        result['int8'] = in_int8(args, Path(out), module, shape)
        text += told(result['int8'])
    report(text, result, args.json)


if __name__ == '__main__':
    run(main, ('part', 'shape', 'int8'))
