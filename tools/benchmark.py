"""Time configs against a dense one: encoder (backbone and neck) and overall, interleaved, with their MACs.

Classifiers (compress_* configs, and exports of tools/fold.py and tools/compress.py) have no neck: overall is all.
"""
import argparse
from typing import Any, Dict

import torch

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.analysis.parts import load_model, parts_of, training_step
from cait_mm.analysis.speed import conditions, time_interleaved
from cait_mm.utils.cli import add_cfg_options, add_json_option, report, run, table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='compressed models: configs or exports')
    parser.add_argument('--against', required=True, metavar='CONFIG', help='the dense model')
    parser.add_argument('--train-step', action='store_true',
                        help='time a training step of compress_* configs instead: forward, backward and optimizer')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--shape', nargs=2, type=int, default=(512, 512), metavar=('H', 'W'), help='pixels')
    parser.add_argument('--rounds', type=int, default=10, help='timed rounds; the medians count')
    parser.add_argument('--threads', type=int, help='CPU threads (default: all cores)')
    add_cfg_options(parser, 'change every config')
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
        model = load_model(path, args.cfg_options)
        models[path] = {'params': count_params(model)}
        for name, part in parts_of(model).items():
            models[path][name] = {'macs': count_macs(part, (image,))['']}
            calls[name][path] = lambda part=part: part(batch)
        model.to(device)
    calls = {name: timed for name, timed in calls.items() if args.against in timed}
    for name in calls:
        timings = time_interleaved(calls[name], args.rounds)
        for path, timing in timings.items():
            entry, dense = models[path][name], models[args.against][name]
            entry.update(seconds=timing.median, spread=timing.spread, ideal=dense['macs'] / entry['macs'],
                         speedup=timings[args.against].median / timing.median)
    return {'conditions': {**conditions_of(args), 'shape': list(args.shape)}, 'against': args.against, 'models': models}


def conditions_of(args: argparse.Namespace) -> Dict[str, Any]:
    return {**conditions(), 'batch_size': args.batch_size, 'dtype': 'float32', 'mode': 'eager', 'rounds': args.rounds}


def measure_training(args: argparse.Namespace) -> Dict[str, Any]:
    """Time one training step of all configs in one interleaved run."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    paths = [args.against, *(path for path in args.configs if path != args.against)]
    timings = time_interleaved(
        {path: training_step(path, args.cfg_options, args.batch_size, device) for path in paths}, args.rounds,
        training=True)
    against = timings[args.against].median
    return {'conditions': conditions_of(args), 'against': args.against, 'steps': {
        path: {'seconds': timing.median, 'spread': timing.spread, 'cost': timing.median / against}
        for path, timing in timings.items()}}


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.train_step:
        result = measure_training(args)
        rows = [[path, f'{1000 * step["seconds"]:.1f} ms +- {step["spread"] / 2:.1%}', f'{step["cost"]:.2f}x']
                for path, step in result['steps'].items()]
        text = table(['config', 'median training step', 'cost'], rows)
        report(f'{text}\n{described(result["conditions"])}', result, args.json)
        return
    result = measure(args)
    rows = []
    for path, model in result['models'].items():
        names = [name for name in ('encoder', 'overall') if name in model]
        for name in names:
            part = model[name]
            rows.append([path if name == names[0] else '', name, f'{part["macs"] / 1e9:.2f}',
                         f'{1000 * part["seconds"]:.1f} ms +- {part["spread"] / 2:.1%}', f'{part["speedup"]:.2f}x',
                         f'{part["ideal"]:.2f}x'])
    text = table(['config', 'part', 'GMACs per image', 'median per batch', 'speed-up', 'ideal'], rows)
    report(f'{text}\n{described(result["conditions"])}', result, args.json)


def described(conditions: Dict[str, Any]) -> str:
    return ', '.join(f'{key} {value}' for key, value in conditions.items())


if __name__ == '__main__':
    run(main)
