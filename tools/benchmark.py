"""Time configs against a dense one: encoder (backbone and neck) and overall, interleaved, with their MACs."""
import argparse
from typing import Any, Dict

import torch
from mmengine.config import DictAction

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.analysis.parts import Encoder, Overall, build_model
from cait_mm.analysis.speed import conditions, time_interleaved
from cait_mm.utils.cli import add_json_option, report, run, table
from cait_mm.utils.configs import load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='compressed models')
    parser.add_argument('--against', required=True, metavar='CONFIG', help='the dense model')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--shape', nargs=2, type=int, default=(512, 512), metavar=('H', 'W'), help='pixels')
    parser.add_argument('--rounds', type=int, default=10, help='timed rounds; the medians count')
    parser.add_argument('--threads', type=int, help='CPU threads (default: all cores)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change every config')
    add_json_option(parser)
    args = parser.parse_args()
    if min(args.batch_size, args.rounds, *args.shape, args.threads or 1) < 1:
        parser.error('sizes, rounds and threads are positive numbers')
    return args


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Build all models, count them, time encoder and overall in one interleaved run."""
    paths = [args.against, *(path for path in args.configs if path != args.against)]
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    image = torch.rand(1, 3, *args.shape)
    batch = torch.rand(args.batch_size, 3, *args.shape, device=device)
    models, calls = {}, {'encoder': {}, 'overall': {}}
    for path in paths:
        model = build_model(load_config(path, args.cfg_options))
        parts = {'encoder': Encoder(model), 'overall': Overall(model)}
        models[path] = {'params': count_params(model)}
        for name, part in parts.items():
            models[path][name] = {'macs': count_macs(part, (image,))['']}
            calls[name][path] = lambda part=part: part(batch)
        model.to(device)
    for name in calls:
        timings = time_interleaved(calls[name], args.rounds)
        for path, timing in timings.items():
            entry, dense = models[path][name], models[args.against][name]
            entry.update(seconds=timing.median, spread=timing.spread, ideal=dense['macs'] / entry['macs'],
                         speedup=timings[args.against].median / timing.median)
    return {'conditions': {**conditions(), 'batch_size': args.batch_size, 'shape': list(args.shape), 'dtype': 'float32',
                           'mode': 'eager', 'rounds': args.rounds}, 'against': args.against, 'models': models}


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = measure(args)
    rows = []
    for path, model in result['models'].items():
        for name in ('encoder', 'overall'):
            part = model[name]
            rows.append([path if name == 'encoder' else '', name, f'{part["macs"] / 1e9:.2f}',
                         f'{1000 * part["seconds"]:.1f} ms +- {part["spread"] / 2:.1%}', f'{part["speedup"]:.2f}x',
                         f'{part["ideal"]:.2f}x'])
    text = table(['config', 'part', 'GMACs per image', 'median per batch', 'speed-up', 'ideal'], rows)
    report(text + '\n' + ', '.join(f'{key} {value}' for key, value in result['conditions'].items()), result, args.json)


if __name__ == '__main__':
    run(main)
