"""Count MACs and parameters of a config's model, split into backbone, neck and heads, or of a bare classifier."""
import _early  # noqa: F401  # isort: skip
import argparse
from typing import Any

import torch

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.arch import NAMES
from cait_mm.config.cli import add_json_option, parse_merges, positive_int, report, run
from cait_mm.config.options import add_cfg_options
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.spec import Spec, make_spec
from cait_mm.tasks import Overall, load_model
from cait_mm.utils.tables import table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog='1 MAC = 1 FLOP, as fvcore counts.')
    parser.add_argument('config', nargs='?', help='config file of a segmentor or detector')
    parser.add_argument('--shape', nargs=2, type=positive_int, metavar=('H', 'W'),
                        help='input size in pixels (default: 512 512, or the size of a classifier)')
    add_cfg_options(parser)
    parser.add_argument('--arch', metavar='NAME', help=f'count this bare classifier instead of a config: {NAMES}')
    parser.add_argument('--merge', default='', metavar='BLOCK:KIND,...',
                        help='its merges, for example 4:horizontal,7:vertical')
    add_json_option(parser)
    args = parser.parse_args()
    if bool(args.config) == bool(args.arch):
        parser.error('give either a config or --arch')
    return args


def count_config(path: str, shape: tuple[int, int] | None, cfg_options: dict[str, Any]) -> dict[str, Any]:
    """MACs and parameters of a config's model and its parts on one image of ``shape`` (H, W)."""
    model = load_model(path, cfg_options)
    whole = Overall(model)
    shape = shape or whole.task.shape
    macs = count_macs(whole, (torch.rand(1, whole.in_channels, *shape),))
    total = {'macs': macs[''], 'params': count_params(model)}
    parts = {}
    for name in ('backbone', 'neck'):
        module = getattr(model, name, None)
        parts[name] = {'macs': macs[f'model.{name}'], 'params': count_params(module) if module else 0}
    training_only = count_params(model.auxiliary_head) if getattr(model, 'auxiliary_head', None) else 0
    parts['head'] = {key: total[key] - sum(part[key] for part in parts.values()) for key in total}
    parts['head']['params'] -= training_only
    return {'config': path, 'shape': list(shape), **total, **parts, 'training_only_params': training_only}


def count_arch(arch: str, merge: str, shape: tuple[int, int]) -> dict[str, Any]:
    """MACs and parameters of a bare classifier, in closed form."""
    spec = make_spec(arch, parse_merges(merge))
    cost, dense = classifier_cost(spec, shape), classifier_cost(Spec.dense(arch), shape)
    return {'arch': arch, 'merge': [list(item) for item in spec.merges], 'shape': list(shape or spec.arch.img_size),
            'macs': cost.macs, 'params': cost.params, 'dense_macs': dense.macs, 'dense_params': dense.params,
            'reduction': 1 - cost.macs / dense.macs}


def main() -> None:
    args = parse_args()
    if args.arch:
        result = count_arch(args.arch, args.merge, tuple(args.shape) if args.shape else None)
        text = table(['', 'MACs (G)', 'params (M)'], [
            ['dense', f'{result["dense_macs"] / 1e9:.3f}', f'{result["dense_params"] / 1e6:.3f}'],
            ['compressed', f'{result["macs"] / 1e9:.3f}', f'{result["params"] / 1e6:.3f}'],
        ]) + f'\nreduction {result["reduction"]:.1%}, ideal speed-up {1 / (1 - result["reduction"]):.2f}x'
    else:
        if args.merge:
            raise UserError('--merge goes with --arch; for a config use --cfg-options model.backbone.merge=...')
        result = count_config(args.config, tuple(args.shape) if args.shape else None, args.cfg_options)
        parts = [('total', result), *((name, result[name]) for name in ('backbone', 'neck', 'head'))]
        text = table(['part', 'MACs (G)', 'params (M)'],
                     [[name, f'{part["macs"] / 1e9:.2f}', f'{part["params"] / 1e6:.2f}'] for name, part in parts])
        if result['training_only_params']:
            text += f'\nauxiliary head, training only: {result["training_only_params"] / 1e6:.2f} M parameters'
        text += f'\ninput {result["shape"][0]}x{result["shape"][1]}, 1 MAC = 1 FLOP as fvcore counts'
    report(text, result, args.json)


if __name__ == '__main__':
    run(main, ('merge', 'shape'))
