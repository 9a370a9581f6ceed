"""Swin and LV-ViT in small: a dense classifier from random weights, and CAIT, which starts from it and has it as
teacher.

The compressed checkpoints lie in --out, checkpoints/, where benchmarks/tasks.py --tasks swin_camvid lvvit_camvid takes
them from.
"""
import argparse
from pathlib import Path

from shared import Row, View, cost, finish, folded, parser_of, ratio, tested, timed, timing, write_config

from cait_mm.config.cli import positive_int, run
from cait_mm.errors import UserError

KINDS = {'dense': '', 'CAIT': 'cait_'}
VIEW: View = {'model': '{family} {kind}', 'top-1 %': '{top1:.1f}', 'GMACs at 128': '{gmacs:.3f}',
              'saved': '{saved_percent:.1f} %', 'params (M)': '{params_m:.2f}', 'speed (ideal)': ratio('classifier_')}


def configure(family: str, kind: str, args: argparse.Namespace) -> Path:
    """The config of a classifier with these images."""
    compress = kind == 'CAIT'
    name = f'compress_cait_{family}_imagefolder' if compress else f'{family}_imagefolder'
    start = dict(type='Pretrained', checkpoint=str(args.out / f'checkpoints/{family}_imagefolder.pth'))
    loader = dict(batch_size=50, num_workers=1, dataset=dict(data_root=str(args.images)))
    transform = dict(_delete_=True, input_size=128, is_training=True, interpolation='bicubic', scale=(0.4, 1.0),
                     color_jitter=0.2)
    return write_config(
        args.out / name / 'config.py', name, val_dataloader=loader, test_dataloader=loader,
        model=dict(num_classes=sum(path.is_dir() for path in (args.images / 'train').iterdir()),
                   data_preprocessor=dict(mixup=None), distillation=dict(alpha=0.5 * compress),
                   backbone=dict(drop_path_rate=0., init_cfg=start if compress else None)),
        train_dataloader=dict(loader, dataset=dict(loader['dataset'], per_class=args.per_class, transform=transform)),
        train_cfg=dict(val_interval=1000),
        default_hooks=dict(logger=dict(interval=20), checkpoint=dict(save_best=None)))


def classify(family: str, kind: str, args: argparse.Namespace) -> tuple[Row, Path]:
    """Train and test a classifier; its row and its checkpoint."""
    config, epochs = configure(family, kind, args), args.compress_epochs if kind == 'CAIT' else args.epochs
    export = folded(config, args.out / f'checkpoints/{KINDS[kind]}{family}_imagefolder.pth', '--epochs', epochs)
    top1 = tested(config, export, config.parent / 'test.json')['top1']
    return {'family': family, 'kind': kind, 'top1': top1, **cost(export)}, export


def main() -> None:
    parser = parser_of(__doc__, 'families', 'tasks')
    parser.add_argument('--images', type=Path, required=True, help='an ImageFolder with train/ and val/')
    parser.add_argument('--families', nargs='+', choices=('swin', 'lvvit'), default=['swin', 'lvvit'])
    parser.add_argument('--epochs', type=positive_int, default=12)
    parser.add_argument('--compress-epochs', type=positive_int, default=6)
    parser.add_argument('--per-class', type=positive_int, default=500)
    parser.add_argument('--no-speed', action='store_true', help='leave the timing out')
    args = parser.parse_args()
    args.images = args.images.resolve()
    for path in (args.images / 'train', args.images / 'val'):
        if not path.is_dir():
            raise UserError(f'{path} does not exist.')
    rows: list[Row] = []
    for family in args.families:
        mine, exports = zip(*(classify(family, kind, args) for kind in KINDS))
        if not args.no_speed:
            models = timed(args.out / f'speed_{family}.json', exports, '--shape', 128, 128, '--batch-size', 32)
            mine[1].update(timing(models[1]['overall'], 'classifier_'))
        rows += mine
    finish(args, 'families', ('family', 'kind'), (VIEW, rows))


if __name__ == '__main__':
    run(main)
