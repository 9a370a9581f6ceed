"""Fine-tune UperNet on CamVid, dense and compressed, with the same seed, data and iterations; measure and compare.

Dense and ATME start from the same weights; CAIT, on request, from an export of tools/compress.py.

Every step's result is kept under --out and not computed again, so an interrupted run goes on where it stopped.
"""
import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cait_mm.analysis.modes import Mode
from cait_mm.analysis.speed import conditions, time_interleaved
from cait_mm.analysis.training import training_step
from cait_mm.config.cli import add_json_option, positive_int, report, run, run_python
from cait_mm.utils.files import kept, newest_checkpoint, write_json
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
MODELS = {'dense': 'upernet_deit_t_camvid', 'ATME': 'upernet_atme_deit_t_camvid', 'CAIT': 'upernet_cait_deit_t_camvid'}


def peak_memory() -> int:
    """The most bytes this process ever held (Linux). ``getrusage`` would count the parent's before the exec too."""
    status = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith('VmHWM')) * 1024


def memory_of(name: str, args: argparse.Namespace) -> dict[str, int]:
    """Peak memory after three training steps, in a process of its own so that it is this model's alone."""
    result = args.out / f'memory_of_{name}.json'
    run_python(Path(__file__), '--steps-of', name, '--batch-size', args.batch_size, '--side', args.side, '--checkpoint',
               args.checkpoint, '--export', args.export, '--out', result)
    return json.loads(result.read_text())


def weights_of(name: str, args: argparse.Namespace) -> Path:
    return args.export if name == 'CAIT' else args.checkpoint


def step_of(name: str, args: argparse.Namespace) -> Callable[[], Any]:
    """One whole training step (forward, backward, optimizer) of a config's model on random data."""
    weights = {'model.backbone.init_cfg.checkpoint': str(weights_of(name, args))}
    return training_step(str(ROOT / 'configs' / f'{MODELS[name]}.py'), weights, args.batch_size,
                         (args.side, args.side), Mode())


def accuracy(name: str, args: argparse.Namespace) -> dict[str, Any]:
    config, folder = ROOT / 'configs' / f'{MODELS[name]}.py', args.out / MODELS[name]
    options = ['--cfg-options', f'model.backbone.init_cfg.checkpoint={weights_of(name, args)}',
               *(f'{split}_dataloader.dataset.data_root={args.data}' for split in ('train', 'val', 'test'))]
    run_python(ROOT / 'tools' / 'train.py', config, '--work-dir', folder, '--resume', *options)
    run_python(ROOT / 'tools' / 'test.py', config, newest_checkpoint(folder), '--work-dir', folder,
               '--json', folder / 'test.json', *options)
    return json.loads((folder / 'test.json').read_text())


def step_times(args: argparse.Namespace) -> dict[str, Any]:
    torch.manual_seed(0)
    steps = {name: step_of(name, args) for name in args.models}
    timings = time_interleaved(steps, args.rounds, training=True)
    return {**{name: timing.median for name, timing in timings.items()},
            'spread': {name: timing.spread for name, timing in timings.items()}, 'conditions': conditions()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, default=Path('data/camvid'))
    parser.add_argument('--checkpoint', type=Path, default=Path('checkpoints/deit_tiny_patch16_224-a1311bcf.pth'))
    parser.add_argument('--export', type=Path, default=Path('checkpoints/cait_deit_tiny.pth'))
    parser.add_argument('--models', nargs='+', choices=list(MODELS), default=['dense', 'ATME'])
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence_camvid'))
    parser.add_argument('--batch-size', type=positive_int, default=4)
    parser.add_argument('--side', type=positive_int, default=320, help='pixels of the timed training step')
    parser.add_argument('--rounds', type=positive_int, default=10)
    parser.add_argument('--steps-of', choices=sorted(MODELS), help=argparse.SUPPRESS)
    add_json_option(parser)
    args = parser.parse_args()
    if args.steps_of:
        before, step = peak_memory(), step_of(args.steps_of, args)
        for _ in range(3):
            step()
        write_json(args.out, {'peak': peak_memory(), 'imports': before})
        return
    args.out.mkdir(parents=True, exist_ok=True)
    metrics = {name: kept(args.out / f'{name}_test.json', lambda name=name: accuracy(name, args))
               for name in args.models}
    key = '_'.join(args.models)
    times = kept(args.out / f'steps_{key}.json', lambda: step_times(args))
    memory = kept(args.out / f'memory_{key}.json', lambda: {name: memory_of(name, args) for name in args.models})
    first = times[args.models[0]]
    rows = [[name, f'{metrics[name]["mIoU"]:.2f}', f'{metrics[name]["aAcc"]:.2f}', f'{times[name]:.3f} s',
             f'{first / times[name]:.2f}x', f'{memory[name]["peak"] / 2**30:.2f} GiB'] for name in args.models]
    text = table(['UperNet on', 'test mIoU', 'aAcc', 'training step', 'speed-up', 'peak memory of the process'], rows)
    text += '\n' + ', '.join(f'{key} {value}' for key, value in times['conditions'].items())
    report(text, {'metrics': metrics, 'steps': times, 'memory': memory}, args.json)


if __name__ == '__main__':
    run(main)
