"""The paper's ablations in small: a real DeiT-Tiny on an ImageFolder, every variant the same way.

--data-root holds train/ and val/ with class folders and classes.txt ("folder ImageNet-index ..." lines). A variant is
trained from the dense weights, with the head's rows of these classes, on the same images in the same order for a seed.
"""
import argparse
import re
from pathlib import Path
from typing import Any

from shared import Row, View, add_timings, finish, parser_of, present, ratio, tested, tool, write_config

from cait_mm.config.cli import parse_merges, positive_int, run, whole_number
from cait_mm.macs import classifier_cost, reduction
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.utils.inputs import read_lines

ATME, CAIT = '3:horizontal,7:vertical,9:horizontal', '4:horizontal,8:vertical'
DENSE, TARGET, BATCH = 'dense, fine-tuned', 0.505, 32


def cdcp(target: float, **more: Any) -> dict[str, Any]:
    return dict(target=target, rule='proximal', start_epoch=0, step=None, interval=5, **more)


VARIANTS: dict[str, dict[str, Any]] = {
    DENSE: {},
    'ATME': dict(merge=ATME),
    'CAIT, calibrated start': dict(merge=CAIT, cdcp=cdcp(TARGET, start='calibrated')),
    'CAIT, weighted merges': dict(merge='4:horizontal_weighted,8:vertical_weighted', lr_mult=1e-3,
                                  cdcp=cdcp(TARGET, start='calibrated')),
    'CAIT, identity start': dict(merge=CAIT, cdcp=cdcp(TARGET, start='identity')),
    'CAIT, no training': dict(merge=CAIT, compressed='export.pth'),
    'CAIT, no training, then fine-tuned': dict(merge=CAIT, compressed='start.pth'),
    'CAIT, no training, no ridge, then fine-tuned': dict(merge=CAIT, compressed='start.pth', ridge='inf'),
    'symmetric': dict(merge='5:symmetric,6:symmetric'),
    'HTM only': dict(merge='3:horizontal,7:horizontal,9:horizontal'),
    'VTM only': dict(merge='3:vertical,7:vertical,9:vertical'),
    'diagonal': dict(merge='3:diagonal,7:diagonal,9:diagonal'),
    'ATME+Conv': dict(merge='3:horizontal_conv,7:vertical_conv,9:horizontal_conv'),
    **{f'CDCP{name}': dict(cdcp=cdcp(0.251, start='identity', **without)) for name, without in {
        '': {}, ' w/o head': dict(head_consistency=False), ' w/o attn': dict(attention_consistency=False),
        ' w/o both': dict(head_consistency=False, attention_consistency=False)}.items()},
}
"""Merges, CDCP, the compactors' learning rate as a multiple of the others', the file that is compressed without
training (to train from, or to test as it is), and the ridge of its cuts. Others may name ``tokens`` in place of merges,
and a ``start``.
"""
VIEW: View = {'variant': '{variant}', 'data': '{data}', 'seed': '{seed}', 'top-1 %': '{top1:.2f}',
              'GMACs': '{gmacs:.3f}', 'saved': '{saved_percent:.1f} %', 'params (M)': '{params_m:.2f}',
              'speed (ideal)': ratio()}


def configure(path: Path, variant: dict[str, Any], start: Path, seed: int, args: argparse.Namespace) -> Path:
    """The variant's config: small/deit_t_imagefolder.py with these images, this length and seed."""
    classes = sorted(line.split() for line in read_lines(args.data_root / 'classes.txt'))
    head = dict(num_classes=len(classes), head_rows=[int(index) for _, index, *_ in classes])
    teacher = dict(type='Classifier', **head, backbone=dict(
        type='CAITDeiT', arch='deit_tiny', init_cfg=dict(type='Pretrained', checkpoint=str(args.checkpoint))))
    data = dict(data_root=str(args.data_root))
    loader = dict(batch_size=50, num_workers=1, dataset=dict(data, transform=dict(crop_pct=1.)))
    steps, warmup = args.steps, max(1, args.steps // 10)
    return write_config(
        path, 'deit_t_imagefolder',
        model=dict(**head, new_head=False, cdcp=variant.get('cdcp'), distillation=dict(alpha=0.1, teacher=teacher),
                   backbone=dict(drop_path_rate=0., merge=tuple(map(tuple, parse_merges(variant.get('merge', '')))),
                                 tokens=variant.get('tokens'),
                                 init_cfg=dict(type='Pretrained', checkpoint=str(start))),
                   data_preprocessor=dict(mixup=None)),
        train_dataloader=dict(batch_size=BATCH, num_workers=1, dataset=dict(
            data, per_class=steps * BATCH // len(classes), transform=dict(
                _delete_=True, input_size=224, is_training=True, interpolation='bicubic', scale=(0.5, 1.0),
                color_jitter=None))),
        val_dataloader=loader, test_dataloader=loader, train_cfg=dict(max_epochs=1, val_interval=1000),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-2, by_epoch=False, begin=0, end=warmup),
            dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=False, begin=warmup, end=steps)],
        optim_wrapper=dict(optimizer=dict(lr=2e-4), paramwise_cfg=dict(compactor_lr_mult=variant.get('lr_mult', 0.1))),
        default_hooks=dict(logger=dict(interval=10), checkpoint=dict(save_best=None)), randomness=dict(seed=seed))


def measure(name: str, variant: dict[str, Any], seed: int, args: argparse.Namespace) -> tuple[Path, Row]:
    """Compress and test one variant; its checkpoint and its row."""
    folder = args.out / f'{re.sub("[^a-zA-Z0-9+.]+", "_", name)}_{seed}'
    start, export = variant.get('start', args.checkpoint), folder / 'export.pth'
    if 'compressed' in variant:
        start = folder / variant['compressed']
        if not start.is_file():
            tool('compress', 'deit_tiny', args.checkpoint, start, '--target', TARGET, '--merge', variant['merge'],
                 '--images', args.data_root / 'train', *(('--ridge', variant['ridge']) if 'ridge' in variant else ()))
    config = configure(folder / 'config.py', variant, start, seed, args)
    if not export.is_file():
        tool('train', config, '--work-dir', folder / 'run', '--resume')
        tool('fold', folder / 'run', export)
    spec = read_checkpoint(str(export)).spec
    whole = classifier_cost(spec)  # with ImageNet's head, as everywhere
    return export, {'variant': name, 'data': args.data_root.name, 'seed': seed,
                    'top1': tested(config, export, folder / 'test.json')['top1'], 'gmacs': whole.macs / 1e9,
                    'saved_percent': 100 * reduction(spec), 'params_m': whole.params / 1e6}


def main() -> None:
    parser = parser_of(__doc__, 'ablations')
    parser.add_argument('--data-root', type=present, required=True, metavar='DIR')
    parser.add_argument('--checkpoint', type=present, default='checkpoints/deit_tiny_patch16_224-a1311bcf.pth')
    parser.add_argument('--variants', nargs='+', choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument('--seeds', nargs='+', type=whole_number, default=[0])
    parser.add_argument('--steps', type=positive_int, default=120)
    parser.add_argument('--no-speed', action='store_true', help='leave the timing out')
    args = parser.parse_args()
    names = sorted(args.variants, key=lambda name: name != DENSE)  # speed is relative to the first
    rows = dict(measure(name, VARIANTS[name], seed, args) for seed in args.seeds for name in names)
    if not args.no_speed:
        timed = {export: row for export, row in rows.items() if row['seed'] == args.seeds[0]}
        add_timings(timed, args.out / 'speed.json', {'overall': ''}, '--shape', 224, 224, '--batch-size', 16)
    finish(args, 'ablations', ('variant', 'data', 'seed'), (VIEW, list(rows.values())))


if __name__ == '__main__':
    run(main)
