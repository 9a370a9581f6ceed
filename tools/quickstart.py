"""The whole workflow on embedded data: pretrain, compress, fold, fine-tune with UperNet, measure and draw.

A small ViT learns to classify drawn scenes, CAIT compresses it, and UperNet is trained on the dense and on the
compressed one. Every step is a command of the project. Finished steps are reused by a second run, and an interrupted
run continues. The configs that are written next to the results can be used like any other.
"""
import _early  # noqa: F401  # isort: skip
import argparse
import subprocess
import sys
import time
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config

from cait_mm.analysis.figures import stacked, token_grids
from cait_mm.config.cli import add_json_option, output_folder, positive_int, report, run, run_child, whole_number
from cait_mm.engine.recipe import set_epochs
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.utils.files import atomic_path, read_json, write_json
from cait_mm.utils.lock import locked
from cait_mm.utils.pictures import read_image
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs' / 'small'
CLASSIFIERS = {'dense': 'deit_scenes', 'CAIT': 'compress_cait_deit_scenes'}
SETTINGS = ('train', 'val', 'seed', 'epochs', 'iters')
"""The options that change the results."""
SEGMENTORS = {'dense': 'upernet_deit_scenes', 'CAIT': 'upernet_cait_deit_scenes'}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=output_folder, default=ROOT / 'quickstart', help='folder for everything')
    parser.add_argument('--iters', type=positive_int, default=1000, help='training iterations of each UperNet')
    parser.add_argument('--epochs', type=positive_int, default=12,
                        help='epochs of pretraining the classifier; compressing it takes two thirds of them')
    parser.add_argument('--train', type=positive_int, default=480, help='training scenes')
    parser.add_argument('--val', type=positive_int, default=80, help='validation scenes')
    parser.add_argument('--seed', type=whole_number, default=0)
    add_json_option(parser)
    args = parser.parse_args()
    if args.epochs < 3:
        parser.error('--epochs is 3 at least')
    args.out = args.out.resolve()
    return args


def command(script: str, *words: Any, quiet: bool = False) -> None:
    """Run one of the project's tools; its output goes to the screen, or is shown only when it fails."""
    words = [str(word) for word in words]
    print(f'$ python tools/{script} {" ".join(words)}', file=sys.stderr, flush=True)
    status, output = run_child([ROOT / 'tools' / script, *words], stdout=subprocess.PIPE if quiet else sys.stderr,
                               stderr=subprocess.STDOUT if quiet else None)
    if status:
        tail = '\n'.join(output.splitlines()[-20:])
        raise UserError(f'tools/{script} failed with status {status}; run bash tools/quickstart.sh again to continue '
                        f'where it stopped.\n{tail}'.rstrip())


def prepare(args: argparse.Namespace) -> None:
    """Make the scenes, and record the settings of the results in this folder.

    Raises:
        UserError: The folder holds a run with other settings.
    """
    path, settings = args.out / 'settings.json', {name: getattr(args, name) for name in SETTINGS}
    earlier = read_json(path) if path.is_file() else settings
    if not isinstance(earlier, dict) or not set(SETTINGS) <= set(earlier):
        raise UserError(f'{path} was not written by this command: choose another --out, or remove that folder.')
    differing = [f'--{name} {earlier[name]}' for name in SETTINGS if earlier[name] != settings[name]]
    if differing:
        raise UserError(f'{args.out} holds a run with {" ".join(differing)}: choose another --out, or remove that '
                        'folder.')
    command('make_scenes.py', args.out / 'scenes', '--train', args.train, '--val', args.val, '--seed', args.seed)
    write_json(path, settings)


def write_config(path: Path, name: str, data: Path, start: Path | None, settings: dict[str, Any]) -> None:
    """Write a config of this run based on the shipped config ``name``: data, initial weights, length.

    Raises:
        UserError: The folder holds a run with other settings.
    """
    if start is not None:
        init_cfg = dict(type='Pretrained', checkpoint=str(start))
        settings = {**settings, 'model': {**settings.get('model', {}), 'backbone': dict(init_cfg=init_cfg)}}
    loaders = {f'{split}_dataloader': dict(dataset=dict(data_root=str(data))) for split in ('train', 'val', 'test')}
    settings = {'_base_': str(CONFIGS / f'{name}.py'), **loaders, **settings}
    text = ''.join(f'{key} = {pformat(value, width=110, sort_dicts=False)}\n' for key, value in settings.items())
    if path.is_file() and path.read_text() != text:
        raise UserError(f'{path.parent} holds a run with other settings: choose another --out, or remove that folder.')
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def classifier_settings(name: str, epochs: int, seed: int) -> dict[str, Any]:
    """The seed, and the changes to a classifier's config that ``--epochs`` of tools/train.py would make."""
    config = Config.fromfile(CONFIGS / f'{CLASSIFIERS[name]}.py')
    set_epochs(config, epochs)
    settings = {'randomness': dict(seed=seed), 'train_cfg': dict(max_epochs=epochs),
                'param_scheduler': [dict(scheduler) for scheduler in config.param_scheduler]}
    cdcp = config.model.get('cdcp')
    return {**settings, 'model': dict(cdcp=dict(start_epoch=cdcp.start_epoch))} if cdcp else settings


def classifier(args: argparse.Namespace, name: str, start: Path | None) -> Path:
    """Train a classifier on the scenes and fold it; the compressed checkpoint."""
    config, folder, checkpoint = (args.out / f'{CLASSIFIERS[name]}{suffix}' for suffix in ('.py', '', '.pth'))
    epochs = args.epochs if name == 'dense' else max(2, args.epochs * 2 // 3)
    write_config(config, CLASSIFIERS[name], args.out / 'scenes' / 'classification', start,
                 classifier_settings(name, epochs, args.seed))
    if not checkpoint.is_file():
        command('train.py', config, '--work-dir', folder, '--resume')
        command('fold.py', folder, checkpoint, '--json', folder / 'fold.json')
    return checkpoint


def segmentor(args: argparse.Namespace, name: str, start: Path) -> dict[str, Any]:
    """Train UperNet on a compressed checkpoint, evaluate it and draw its predictions, unless that is done."""
    iters, warmup = args.iters, max(1, args.iters * 3 // 50)
    config, folder = (args.out / f'{SEGMENTORS[name]}{suffix}' for suffix in ('.py', ''))
    write_config(config, SEGMENTORS[name], args.out / 'scenes', start, {
        'randomness': dict(seed=args.seed),
        'train_cfg': dict(max_iters=iters, val_interval=iters),
        'param_scheduler': [
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup),
            dict(type='PolyLR', eta_min=0., power=1.0, begin=warmup, end=iters, by_epoch=False),
        ],
    })
    result = folder / 'result.json'
    if result.is_file():
        print(f'{name}: reusing {result}', file=sys.stderr)
        return read_json(result)
    start_time = time.time()
    command('train.py', config, '--work-dir', folder, '--resume')
    seconds, metrics = time.time() - start_time, folder / 'metrics.json'
    command('test.py', config, folder / f'iter_{iters}.pth', '--work-dir', folder, '--show-dir', folder / 'show',
            '--json', metrics, quiet=True)
    outcome = {'metrics': read_json(metrics), 'train_seconds': seconds}
    write_json(result, outcome)
    return outcome


def accuracy(args: argparse.Namespace, name: str, checkpoint: Path) -> float:
    """Top-1 of a folded classifier on the validation scenes."""
    folder = args.out / CLASSIFIERS[name]
    if not (folder / 'top1.json').is_file():
        command('test.py', args.out / f'{CLASSIFIERS[name]}.py', checkpoint, '--work-dir', folder, '--json',
                folder / 'top1.json', quiet=True)
    return read_json(folder / 'top1.json')['top1']


def draw(args: argparse.Namespace, checkpoint: Path) -> list[Path]:
    """Draw the predictions of both models below each other, and the merged token grid over a scene."""
    images = sorted((args.out / 'scenes' / 'images' / 'validation').iterdir())[:4]
    predictions = []
    for image in images:
        paths = {name: next((args.out / folder / 'show').rglob(f'*{image.stem}*'), None)
                 for name, folder in SEGMENTORS.items()}
        if all(paths.values()):
            names = [f'{name}: truth left, prediction right' for name in paths]
            sheet = args.out / f'prediction_{image.stem}.png'
            stacked([read_image(path) for path in paths.values()], names).save(sheet)
            predictions.append(sheet)
    grid = args.out / 'token_grid.png'
    token_grids(read_image(images[0]), read_checkpoint(str(checkpoint)).spec).save(grid)
    return [*predictions, grid]


def write_report(args: argparse.Namespace) -> str:
    """Write the report on both segmentors; a line for people. Its failure loses nothing that was made before."""
    try:
        command('report.py', args.out, quiet=True)
    except UserError as error:
        return f'no report was written: {error}'
    return f'report: {args.out / "report.html"}'


def summary(results: dict[str, Any], top1: dict[str, float], speed: dict[str, Any], args: argparse.Namespace) -> str:
    rows = []
    for name, result in results.items():
        model = speed['models'][str(args.out / f'{SEGMENTORS[name]}.py')]
        encoder, overall = model['encoder'], model['overall']
        rows.append([name, f'{encoder["macs"] / 1e9:.2f}', f'{overall["macs"] / 1e9:.2f}',
                     f'{model["params"] / 1e6:.2f}',
                     f'{encoder["speedup"]:.2f}x ({encoder["ideal"]:.2f}x)',
                     f'{overall["speedup"]:.2f}x ({overall["ideal"]:.2f}x)', f'{top1[name]:.1f}',
                     f'{result["metrics"]["mIoU"]:.1f}', f'{result["train_seconds"]:.0f} s'])
    where = ', '.join(f'{key} {value}' for key, value in speed['conditions'].items())
    return table(['UperNet on', 'encoder GMACs', 'overall GMACs', 'params (M)', 'encoder speed (ideal)',
                  'overall speed (ideal)', 'top-1 before', 'mIoU', 'training'], rows) + f'\nspeed: {where}'


def main() -> None:
    args = parse_args()
    with locked(args.out):
        make(args)


def make(args: argparse.Namespace) -> None:
    """Do everything, in the folder of this run."""
    prepare(args)
    checkpoints = {'dense': classifier(args, 'dense', None)}
    checkpoints['CAIT'] = classifier(args, 'CAIT', checkpoints['dense'])
    top1 = {name: accuracy(args, name, checkpoint) for name, checkpoint in checkpoints.items()}
    results = {name: segmentor(args, name, checkpoint) for name, checkpoint in checkpoints.items()}
    speed_file = args.out / 'speed.json'
    if not speed_file.is_file():
        dense, cait = (args.out / f'{SEGMENTORS[name]}.py' for name in ('dense', 'CAIT'))
        command('benchmark.py', cait, '--against', dense, '--shape', 192, 192, '--batch-size', 8, '--json', speed_file,
                quiet=True)
    speed = read_json(speed_file)
    pictures = draw(args, checkpoints['CAIT'])
    text = summary(results, top1, speed, args)
    text += ''.join(f'\npicture: {path}' for path in pictures) + f'\n{write_report(args)}'
    report(text, {'results': results, 'top1': top1, 'speed': speed, 'pictures': [str(path) for path in pictures]},
           args.json)


if __name__ == '__main__':
    run(main)
