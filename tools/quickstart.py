"""The main job on an embedded default: train, evaluate, time and draw a dense and a merged ViT with UperNet.

Every step is one of the project's commands and is kept: a second run reuses what is there, an interrupted one goes on.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

from mmengine.config import Config
from PIL import Image

from cait_mm.analysis.figures import stacked, token_grids
from cait_mm.errors import UserError
from cait_mm.spec import make_spec
from cait_mm.utils.cli import add_json_option, report, run, table
from cait_mm.utils.files import write_json

ROOT = Path(__file__).resolve().parents[1]
MODELS = {'dense': 'upernet_deit_scenes', 'ATME': 'upernet_atme_deit_scenes'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT / 'quickstart', help='where everything goes')
    parser.add_argument('--iters', type=int, default=1000, help='training iterations of each model')
    parser.add_argument('--train', type=int, default=480, help='training scenes')
    parser.add_argument('--val', type=int, default=80, help='validation scenes')
    parser.add_argument('--seed', type=int, default=0)
    add_json_option(parser)
    args = parser.parse_args()
    if min(args.iters, args.train, args.val) < 1:
        parser.error('--iters, --train and --val are positive numbers')
    return args


def command(script: str, *words: Any, quiet: bool = False) -> None:
    """Run one of the project's tools; its output goes to the screen, or is shown only when it fails."""
    words = [str(word) for word in words]
    print(f'$ python tools/{script} {" ".join(words)}', file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, str(ROOT / 'tools' / script), *words], text=True,
                          stdout=subprocess.PIPE if quiet else sys.stderr, stderr=subprocess.STDOUT if quiet else None)
    if done.returncode:
        tail = '\n'.join((done.stdout or '').splitlines()[-20:])
        raise UserError(f'tools/{script} failed with status {done.returncode}; run bash tools/quickstart.sh again to '
                        f'go on where it stopped.\n{tail}'.rstrip())


def settings(args: argparse.Namespace, scenes: Path) -> List[str]:
    """The ``--cfg-options`` that fit a config to this run's data and length."""
    options = [f'{split}_dataloader.dataset.data_root={scenes}' for split in ('train', 'val', 'test')]
    iters, warmup = args.iters, max(1, args.iters * 3 // 50)
    return [*options, f'train_cfg.max_iters={iters}', f'train_cfg.val_interval={iters}',
            f'param_scheduler.0.end={warmup}', f'param_scheduler.1.begin={warmup}', f'param_scheduler.1.end={iters}',
            f'randomness.seed={args.seed}']


def train_and_test(args: argparse.Namespace, name: str, scenes: Path) -> Dict[str, Any]:
    """Train a model to its last iteration unless that was done, evaluate it, draw its predictions."""
    config, folder = ROOT / 'configs' / f'{MODELS[name]}.py', args.out / MODELS[name]
    options = settings(args, scenes)
    key = {'options': options, 'config': config.read_text()}
    result = folder / 'result.json'
    if result.is_file():
        found = json.loads(result.read_text())
        if found['key'] == key:
            print(f'{name}: reusing {result}', file=sys.stderr)
            return found
        raise UserError(f'{folder} holds a run with other settings: choose another --out, or remove that folder.')
    start = time.time()
    command('train.py', config, '--work-dir', folder, '--resume', '--cfg-options', *options)
    seconds = time.time() - start
    metrics = folder / 'metrics.json'
    command('test.py', config, folder / f'iter_{args.iters}.pth', '--work-dir', folder, '--show-dir', folder / 'show',
            '--json', metrics, '--cfg-options', *options, quiet=True)
    found = {'key': key, 'metrics': json.loads(metrics.read_text()), 'train_seconds': seconds}
    write_json(result, found)
    return found


def draw(args: argparse.Namespace, scenes: Path) -> List[Path]:
    """Predictions of both models below each other, and the merged token grid over a scene."""
    images = sorted((scenes / 'images' / 'validation').iterdir())[:4]
    predictions = []
    for image in images:
        found = {name: next((args.out / MODELS[name] / 'show').rglob(f'*{image.stem}*'), None) for name in MODELS}
        if all(found.values()):
            names = [f'{name}: truth left, prediction right' for name in found]
            sheet = args.out / f'prediction_{image.stem}.png'
            stacked([Image.open(path).convert('RGB') for path in found.values()], names).save(sheet)
            predictions.append(sheet)
    backbone = Config.fromfile(ROOT / 'configs' / f'{MODELS["ATME"]}.py').model.backbone
    spec = make_spec(backbone['arch'], backbone['merge'])
    grid = args.out / 'token_grid.png'
    token_grids(Image.open(images[0]), spec).save(grid)
    return [*predictions, grid]


def summary(names: Sequence[str], results: Dict[str, Any], speed: Dict[str, Any]) -> str:
    rows = []
    for name in names:
        model = speed['models'][str(ROOT / 'configs' / f'{MODELS[name]}.py')]
        encoder, overall = model['encoder'], model['overall']
        rows.append([name, f'{encoder["macs"] / 1e9:.2f}', f'{overall["macs"] / 1e9:.2f}',
                     f'{model["params"] / 1e6:.2f}',
                     f'{encoder["speedup"]:.2f}x ({encoder["ideal"]:.2f}x)',
                     f'{overall["speedup"]:.2f}x ({overall["ideal"]:.2f}x)',
                     f'{results[name]["metrics"]["mIoU"]:.1f}', f'{results[name]["train_seconds"]:.0f} s'])
    where = ', '.join(f'{key} {value}' for key, value in speed['conditions'].items())
    return table(['UperNet on', 'encoder GMACs', 'overall GMACs', 'params (M)', 'encoder speed (ideal)',
                  'overall speed (ideal)', 'mIoU', 'training'], rows) + f'\nspeed: {where}'


def main() -> None:
    args = parse_args()
    scenes = args.out / 'scenes'
    command('make_scenes.py', scenes, '--train', args.train, '--val', args.val, '--seed', args.seed)
    results = {name: train_and_test(args, name, scenes) for name in MODELS}
    speed_file = args.out / 'speed.json'
    if not speed_file.is_file():
        dense, atme = (ROOT / 'configs' / f'{MODELS[name]}.py' for name in MODELS)
        command('benchmark.py', atme, '--against', dense, '--shape', 192, 192, '--batch-size', 8, '--json', speed_file,
                quiet=True)
    speed = json.loads(speed_file.read_text())
    pictures = draw(args, scenes)
    text = summary(list(MODELS), results, speed)
    text += ''.join(f'\npicture: {path}' for path in pictures)
    report(text, {'results': results, 'speed': speed, 'pictures': [str(path) for path in pictures]}, args.json)


if __name__ == '__main__':
    run(main)
