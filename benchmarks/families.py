"""Swin and LV-ViT in small: a dense classifier from random weights, and CAIT with it as start and teacher.

The compressed checkpoints lie in --out, checkpoints/, where benchmarks/tasks.py --tasks swin_camvid lvvit_camvid takes
them from.
"""
import argparse
from pathlib import Path

from shared import Row, View, add_timings, classified, finish, parser_of, present, ratio, write_config

from cait_mm.config.cli import positive_int, run

KINDS = {'dense': '', 'CAIT': 'compress_cait_'}
VIEW: View = {'model': '{family} {kind}', 'top-1 %': '{top1:.1f}', 'GMACs at 128': '{gmacs:.3f}',
              'saved': '{saved_percent:.1f} %', 'params (M)': '{params_m:.2f}', 'speed (ideal)': ratio('classifier_')}


def configure(family: str, kind: str, args: argparse.Namespace) -> Path:
    """The config of a classifier with these images."""
    name = f'{KINDS[kind]}{family}_imagefolder'
    start = dict(type='Pretrained', checkpoint=str(args.out / f'checkpoints/{family}_imagefolder.pth'))
    loader = dict(batch_size=50, num_workers=1, dataset=dict(data_root=str(args.images)))
    transform = dict(_delete_=True, input_size=128, is_training=True, interpolation='bicubic', scale=(0.4, 1.0),
                     color_jitter=0.2)
    return write_config(
        args.out / name / 'config.py', name, val_dataloader=loader, test_dataloader=loader,
        model=dict(num_classes=sum(path.is_dir() for path in (args.images / 'train').iterdir()),
                   data_preprocessor=dict(mixup=None),
                   backbone=dict(drop_path_rate=0., init_cfg=start if kind == 'CAIT' else None)),
        train_dataloader=dict(loader, dataset=dict(loader['dataset'], per_class=args.per_class, transform=transform)),
        train_cfg=dict(val_interval=1000),
        default_hooks=dict(logger=dict(interval=20), checkpoint=dict(save_best=None)))


def measure(family: str, kind: str, args: argparse.Namespace) -> tuple[Path, Row]:
    """Train and test a classifier; its checkpoint and its row."""
    config = configure(family, kind, args)
    export = args.out / f'checkpoints/{config.parent.name.removeprefix("compress_")}.pth'
    epochs = args.epochs if kind == 'dense' else args.compress_epochs
    return export, {'family': family, 'kind': kind, **classified(config, export, '--epochs', epochs)}


def main() -> None:
    parser = parser_of(__doc__, 'families', 'tasks')
    parser.add_argument('--images', type=lambda word: present(f'{word}/train').parent, required=True, metavar='DIR',
                        help='an ImageFolder with train/ and val/')
    parser.add_argument('--families', nargs='+', choices=('swin', 'lvvit'), default=['swin', 'lvvit'])
    parser.add_argument('--epochs', type=positive_int, default=12)
    parser.add_argument('--compress-epochs', type=positive_int, default=6)
    parser.add_argument('--per-class', type=positive_int, default=500)
    parser.add_argument('--no-speed', action='store_true', help='leave the timing out')
    args = parser.parse_args()
    rows: list[Row] = []
    for family in args.families:
        found = dict(measure(family, kind, args) for kind in KINDS)
        if not args.no_speed:
            add_timings(found, args.out / f'speed_{family}.json', {'overall': 'classifier_'}, '--shape', 128, 128,
                        '--batch-size', 32)
        rows += found.values()
    finish(args, 'families', ('family', 'kind'), (VIEW, rows))


if __name__ == '__main__':
    run(main)
