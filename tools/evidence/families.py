"""Swin and LV-ViT in small, from random weights to a compressed backbone that segments.

For every family: train a small dense classifier from scratch on an ImageFolder, export it, compress it with CAIT
(merges, pruned channels, taught by the dense one), fold, and fine-tune UperNet on CamVid from both exports. Evaluated
and timed side by side. --images holds train/ and val/ with class folders. Finished steps are kept under --out; an
interrupted training run is resumed.
"""
import argparse
import json
from pathlib import Path
from typing import Any

from cait_mm.config.cli import add_json_option, positive_int, report, result_of, run, run_python
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.utils.files import newest_checkpoint, write_json
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
_base_ = {base!r}
model = dict(
    num_classes={classes}, data_preprocessor=dict(mixup=None), distillation=dict(alpha={alpha}),
    backbone=dict(drop_path_rate=0., init_cfg={init_cfg}))
transform = dict(
    _delete_=True, input_size=128, is_training=True, interpolation='bicubic', scale=(0.4, 1.0), color_jitter=0.2)
train_dataloader = dict(
    batch_size=50, num_workers=1, dataset=dict(data_root={data!r}, per_class={per_class}, transform=transform))
val_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(data_root={data!r}))
test_dataloader = val_dataloader
train_cfg = dict(val_interval=1000)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(save_best=None))
"""
SEGMENTOR = """\
_base_ = {base!r}
model = dict(backbone=dict(init_cfg=dict(checkpoint={export!r})))
train_dataloader = dict(dataset=dict(data_root={data!r}))
val_dataloader = dict(dataset=dict(data_root={data!r}))
test_dataloader = dict(dataset=dict(data_root={data!r}))
"""


def classify(family: str, compressed: bool, args: argparse.Namespace) -> Path:
    """Train and evaluate a classifier of the family; its export."""
    name = f'compress_{"cait_" if compressed else ""}{family}_imagefolder'
    folder = args.out / name
    export = folder / 'export.pth'
    if (folder / 'test.json').is_file():
        return export
    folder.mkdir(parents=True, exist_ok=True)
    dense = args.out / f'compress_{family}_imagefolder' / 'export.pth'
    config = folder / 'config.py'
    config.write_text(CONFIG.format(
        base=str(ROOT / 'configs' / f'{name}.py'), data=str(args.images), per_class=args.per_class,
        classes=sum(path.is_dir() for path in (args.images / 'train').iterdir()), alpha=0.5 if compressed else 0,
        init_cfg=dict(type='Pretrained', checkpoint=str(dense)) if compressed else None))
    epochs = args.compress_epochs if compressed else args.epochs
    run_python(ROOT / 'tools/train.py', config, '--work-dir', folder / 'run', '--epochs', epochs, '--resume')
    run_python(ROOT / 'tools/fold.py', folder / 'run', export, '--json', folder / 'fold.json')
    run_python(ROOT / 'tools/test.py', config, export, '--work-dir', folder / 'run', '--json', folder / 'test.json')
    return export


def segment(family: str, compressed: bool, export: Path, args: argparse.Namespace) -> Path:
    """Fine-tune and evaluate UperNet on CamVid from an export; its config, beside its results."""
    name = f'upernet_{"cait_" if compressed else ""}{family}_camvid'
    folder = args.out / name
    config, result = folder / 'config.py', folder / 'test.json'
    if result.is_file():
        return config
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(SEGMENTOR.format(base=str(ROOT / 'configs' / f'{name}.py'), export=str(export),
                                       data=str(args.camvid)))
    run_python(ROOT / 'tools/train.py', config, '--work-dir', folder / 'run', '--resume')
    run_python(ROOT / 'tools/test.py', config, newest_checkpoint(folder / 'run'), '--work-dir', folder / 'run',
               '--json', result)
    return config


def speed(what: str, models: list[Path], side: int, batch: int, args: argparse.Namespace) -> dict[str, Any]:
    """The second model against the first, interleaved."""
    found = result_of(args.out / f'speed_{what}.json', ROOT / 'tools/benchmark.py', models[1], '--against', models[0],
                      '--shape', side, side, '--batch-size', batch)
    return found['models'][str(models[1])]


def read(path: Path, key: str) -> float:
    return json.loads(path.read_text())[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=Path, required=True, help='an ImageFolder with train/ and val/')
    parser.add_argument('--camvid', type=Path, default=Path('data/camvid'))
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence_families'))
    parser.add_argument('--families', nargs='+', choices=('swin', 'lvvit'), default=['swin', 'lvvit'])
    parser.add_argument('--epochs', type=positive_int, default=12)
    parser.add_argument('--compress-epochs', type=positive_int, default=6)
    parser.add_argument('--per-class', type=positive_int, default=500)
    parser.add_argument('--no-speed', action='store_true', help='leave the timing out')
    add_json_option(parser)
    args = parser.parse_args()
    args.images, args.camvid, args.out = args.images.resolve(), args.camvid.resolve(), args.out.resolve()
    for path in (args.images / 'train', args.images / 'val', args.camvid / 'train'):
        if not path.is_dir():
            raise UserError(f'{path} does not exist.')
    rows, exports, models = [], {}, {}
    for family in args.families:
        exports[family] = [classify(family, compressed, args) for compressed in (False, True)]
    for family in args.families:
        configs = [segment(family, compressed, export, args)
                   for compressed, export in zip((False, True), exports[family])]
        times: dict[str, Any] = {}
        if not args.no_speed:
            times['classifier'] = speed(f'{family}_classifier', exports[family], 128, 32, args)['overall']
            upernet = speed(f'{family}_upernet', configs, 320, 4, args)
            times.update(encoder=upernet['encoder'], overall=upernet['overall'])
        dense = classifier_cost(read_checkpoint(str(exports[family][0])).spec)
        for index, name in enumerate(('dense', 'CAIT')):
            cost = classifier_cost(read_checkpoint(str(exports[family][index])).spec)
            scores = {'top1': read(exports[family][index].parent / 'test.json', 'top1'),
                      'mIoU': read(configs[index].parent / 'test.json', 'mIoU')}
            models[f'{family} {name}'] = {**scores, 'macs': cost.macs, 'params': cost.params,
                                          'speed': times if index else {}}
            timed = [f'{part["speedup"]:.2f}x ({part["ideal"]:.2f}x)' for part in times.values()] if index else []
            timed += [''] * (3 - len(timed))
            rows.append([f'{family} {name}', f'{scores["top1"]:.1f}', f'{cost.macs / 1e9:.3f}',
                         f'{1 - cost.macs / dense.macs:.1%}', f'{cost.params / 1e6:.2f}', f'{scores["mIoU"]:.1f}',
                         *timed])
    write_json(args.out / 'results.json', rows)
    text = table(['model', 'top-1 %', 'GMACs', 'saved', 'params (M)', 'CamVid mIoU', 'classifier speed (ideal)',
                  'UperNet encoder', 'UperNet overall'], rows)
    report(text, models, args.json)


if __name__ == '__main__':
    run(main)
