"""The whole workflow on embedded data: pretrain, compress, fold, fine-tune with UperNet, measure and draw.

A small ViT learns to classify drawn scenes, CAIT compresses it, and UperNet is trained on the dense and on the
compressed one. Every step is a command of the project. Finished steps are reused by a second run, and an interrupted
run continues. The configs that are written next to the results can be used like any other.
"""
import _early  # noqa: F401  # isort: skip
import argparse
import os
import time
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config

from cait_mm.analysis.figures import stacked, token_grids
from cait_mm.config.cli import add_json_option, output_folder, positive_int, report, run, whole_number
from cait_mm.config.screen import Screen, Step, add_verbose_option, duration, screen
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
LOG, STEPS, DONE = 'quickstart.log', 9, 'done before'
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
    add_verbose_option(parser)
    add_json_option(parser)
    args = parser.parse_args()
    if args.epochs < 3:
        parser.error('--epochs is 3 at least')
    args.out = args.out.resolve()
    return args


def command(args: argparse.Namespace, step: Step, script: str, *words: Any) -> None:
    """Run one of the project's tools as a part of ``step``; its output goes to the log.

    Raises:
        UserError: It failed; the message has the last line of its output.
    """
    words = [str(word) for word in words]
    os.write(2, f'$ python tools/{script} {" ".join(words)}\n'.encode(errors='backslashreplace'))  # as the tool does
    status = step.run([ROOT / 'tools' / script, *words], args.out)
    if status:
        last = '' if args.verbose else last_line(args.out / LOG)
        raise UserError(f'tools/{script} failed with status {status}{last and f" ({last})"}; run bash '
                        'tools/quickstart.sh again to continue where it stopped.')


def last_line(log: Path) -> str:
    lines = log.read_text(encoding='utf-8', errors='replace').split('\n')
    return next((line.strip().removeprefix('error: ') for line in reversed(lines) if line.strip()), '')


def require_settings(args: argparse.Namespace) -> None:
    """Check that the folder is empty, or holds a run with the settings of this one.

    Raises:
        UserError: It holds a run with others.
    """
    path = args.out / 'settings.json'
    if not path.is_file():
        return
    earlier = read_json(path)
    if not isinstance(earlier, dict) or not set(SETTINGS) <= set(earlier):
        raise UserError(f'{path} was not written by this command: choose another --out, or remove that folder.')
    differing = [f'--{name} {earlier[name]}' for name in SETTINGS if earlier[name] != getattr(args, name)]
    if differing:
        raise UserError(f'{args.out} holds a run with {" ".join(differing)}: choose another --out, or remove that '
                        'folder.')


def scenes(args: argparse.Namespace, step: Step) -> None:
    """Make the scenes, and record the settings of the results in this folder."""
    command(args, step, 'make_scenes.py', args.out / 'scenes', '--train', args.train, '--val', args.val, '--seed',
            args.seed)
    write_json(args.out / 'settings.json', {name: getattr(args, name) for name in SETTINGS})


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


def classifier(args: argparse.Namespace, step: Step, name: str, start: Path | None) -> Path:
    """Train a classifier on the scenes and fold it, unless that is done; the compressed checkpoint."""
    config, folder, checkpoint = (args.out / f'{CLASSIFIERS[name]}{suffix}' for suffix in ('.py', '', '.pth'))
    epochs = args.epochs if name == 'dense' else max(2, args.epochs * 2 // 3)
    write_config(config, CLASSIFIERS[name], args.out / 'scenes' / 'classification', start,
                 classifier_settings(name, epochs, args.seed))
    if checkpoint.is_file():
        step.outcome = DONE
    else:
        command(args, step, 'train.py', config, '--work-dir', folder, '--resume')
        command(args, step, 'fold.py', folder, checkpoint, '--json', folder / 'fold.json')
    return checkpoint


def segmentor(args: argparse.Namespace, step: Step, name: str, start: Path) -> dict[str, Any]:
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
    result, metrics = folder / 'result.json', folder / 'metrics.json'
    if result.is_file():
        step.outcome = DONE
        return read_json(result)
    start_time = time.time()
    command(args, step, 'train.py', config, '--work-dir', folder, '--resume')
    seconds = time.time() - start_time
    command(args, step, 'test.py', config, folder / f'iter_{iters}.pth', '--work-dir', folder, '--show-dir',
            folder / 'show', '--json', metrics)
    outcome = {'metrics': read_json(metrics), 'train_seconds': seconds}
    write_json(result, outcome)
    step.outcome = f'mIoU {outcome["metrics"]["mIoU"]:.1f}'
    return outcome


def accuracy(args: argparse.Namespace, step: Step, name: str, checkpoint: Path) -> float:
    """Top-1 of a folded classifier on the validation scenes."""
    folder = args.out / CLASSIFIERS[name]
    if not (folder / 'top1.json').is_file():
        command(args, step, 'test.py', args.out / f'{CLASSIFIERS[name]}.py', checkpoint, '--work-dir', folder, '--json',
                folder / 'top1.json')
    return read_json(folder / 'top1.json')['top1']


def timings(args: argparse.Namespace, step: Step) -> dict[str, Any]:
    """The speed of both segmentors from one interleaved run."""
    path = args.out / 'speed.json'
    if path.is_file():
        step.outcome = DONE
    else:
        dense, cait = (args.out / f'{SEGMENTORS[name]}.py' for name in ('dense', 'CAIT'))
        command(args, step, 'benchmark.py', cait, '--against', dense, '--shape', 192, 192, '--batch-size', 8, '--json',
                path)
    return read_json(path)


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


def write_report(args: argparse.Namespace, step: Step) -> str:
    """Write the report on both segmentors; a line for people. Its failure loses nothing that was made before."""
    try:
        command(args, step, 'report.py', args.out)
    except UserError as error:
        return f'no report was written: {error}'
    return f'report: {args.out / "report.html"}'


def summary(results: dict[str, Any], top1: dict[str, float], speed: dict[str, Any], args: argparse.Namespace) -> str:
    """Both models side by side."""
    columns = []
    for name, result in results.items():
        model = speed['models'][str(args.out / f'{SEGMENTORS[name]}.py')]
        parts = encoder, overall = model['encoder'], model['overall']
        columns.append([
            *(f'{part["macs"] / 1e9:.2f}' for part in parts), f'{model["params"] / 1e6:.2f}',
            *(f'{part["speedup"]:.2f}x ({part["ideal"]:.2f}x)' for part in parts),
            f'{1000 * overall["seconds"]:.0f} ms', f'{top1[name]:.1f}', f'{result["metrics"]["mIoU"]:.1f}',
            duration(result['train_seconds'])])
    rows = ['encoder GMACs', 'overall GMACs', 'parameters (M)', 'encoder speed (ideal)', 'overall speed (ideal)',
            f'a batch of {speed["conditions"]["batch_size"]} takes', 'top-1 of the classifier, %', 'mIoU, %',
            'training took']
    where = speed['conditions']
    return (table(['UperNet on', *results], list(zip(rows, *columns)))
            + f'\nspeed on {where["CPU"]}, {where["threads"]} threads, torch {where["torch"]}; '
            'all conditions: speed.json')


def main() -> None:
    args = parse_args()
    with locked(args.out):
        require_settings(args)
        with screen(STEPS, args.verbose, args.out / LOG, args.json) as shown:
            text, result = make(args, shown)
    report(text, result, args.json)


def make(args: argparse.Namespace, shown: Screen) -> tuple[str, dict[str, Any]]:
    """Do everything, in the folder of this run; the results, for people and as JSON."""
    if shown.log:
        shown.say(f'quick start: {STEPS} steps, some ten minutes; all output goes to {shown.log}')
    with shown.step(f'draw {args.train} and {args.val} scenes') as step:
        scenes(args, step)
    with shown.step('pretrain a classifier on them') as step:
        checkpoints = {'dense': classifier(args, step, 'dense', None)}
    with shown.step('compress it by CAIT') as step:
        checkpoints['CAIT'] = classifier(args, step, 'CAIT', checkpoints['dense'])
    with shown.step('evaluate both') as step:
        top1 = {name: accuracy(args, step, name, checkpoint) for name, checkpoint in checkpoints.items()}
        step.outcome = f'top-1 {top1["dense"]:.1f} and {top1["CAIT"]:.1f} %'
    results = {}
    for name, checkpoint in checkpoints.items():
        with shown.step(f'train and evaluate UperNet on the {name} model') as step:
            results[name] = segmentor(args, step, name, checkpoint)
    with shown.step('time both') as step:
        speed = timings(args, step)
    with shown.step('draw predictions'):
        pictures = draw(args, checkpoints['CAIT'])
    with shown.step('write the report') as step:
        page = write_report(args, step)
    text = f'{summary(results, top1, speed, args)}\nresults: {args.out}, with {len(pictures)} pictures (*.png)\n{page}'
    return text, {'results': results, 'top1': top1, 'speed': speed, 'pictures': [str(path) for path in pictures]}


if __name__ == '__main__':
    run(main)
