"""Compression without training, every means alone and together: a real DeiT-Tiny, judged as it comes.

--sharp holds images/ and labels.txt ("PATH INDEX" lines, all 1000 classes), --small an ImageFolder with train/, val/
and classes.txt ("folder ImageNet-index ..." lines), whose arg-max is taken over its classes. Calibration sees training
images of --small alone. Finished rows are kept.
"""
import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from shared import Row, View, finish, keep_rows, parser_of, read_rows
from timm.data import create_transform

import cait_mm
from cait_mm.config.cli import parse_merges, positive_int, run
from cait_mm.macs import classifier_cost
from cait_mm.utils.inputs import read_lines
from cait_mm.utils.pictures import read_image

M57, M47, M48 = '5:horizontal,7:vertical', '4:horizontal,7:vertical', '4:horizontal,8:vertical'
MEAN, MEANS = dict(weighted=False), dict(ridge=math.inf)
CASES: dict[str, tuple[str, float, dict[str, Any]]] = {
    'dense': ('', 0., {}),
    **{f'{places}, {name}': (merges, 0.3, options) for places, merges in (('5h 7v', M57), ('4h 7v', M47))
       for name, options in (('mean', MEAN), ('weighted', {}), ('weighted, not proportional', dict(proportional=False)),
                             ('weighted, power 6', dict(power=6.)), ('weighted, power 12', dict(power=12.)))},
    **{f'4h 8v and a cut to 50.5 %, {name}': (M48, 0.505, options) for name, options in (
        ('mean, means kept', {**MEAN, **MEANS}), ('mean, ridge', MEAN), ('weighted, means kept', MEANS),
        ('weighted, ridge', {}))},
    **{f'a cut to 25 % alone, {name}': ('', 0.25, options) for name, options in (('means kept', MEANS), ('ridge', {}))},
}
VIEW: View = {'variant': '{variant}', 'GMACs': '{gmacs:.3f}', 'saved': '{saved_percent:.1f} %',
              'sharp, 1000 classes': '{top1_sharp:.1f} %', 'small, 20 classes': '{top1_small:.1f} %'}


def compressed(name: str, model: cait_mm.models.Classifier, images: torch.Tensor) -> cait_mm.models.Classifier:
    """The model of a case."""
    merges, target, options = CASES[name]
    if not target:
        return model
    power = options.get('power')
    small = cait_mm.compress(model, images, target=target, merge=parse_merges(merges),
                             **{key: value for key, value in options.items() if key != 'power'})
    for merge in getattr(small.backbone, 'merges', {}).values():
        if power is not None:
            torch.nn.init.constant_(merge.power, power)
    return small


def sharp(folder: Path) -> Iterator[tuple[torch.Tensor, int]]:
    transform = create_transform(224, interpolation='bicubic', crop_pct=224 / 256)
    for line in read_lines(folder / 'labels.txt'):
        path, index = line.split()[:2]
        yield transform(read_image(folder / path)), int(index)


def small(folder: Path, split: str, count: int) -> Iterator[tuple[torch.Tensor, int]]:
    transform = create_transform(224, interpolation='bicubic', crop_pct=1.)
    for line in read_lines(folder / 'classes.txt'):
        name, index = line.split()[:2]
        for path in sorted((folder / split / name).rglob('*.JPEG'))[:count]:
            yield transform(read_image(path)), int(index)


@torch.inference_mode()
def top1(model: torch.nn.Module, samples: list[tuple[torch.Tensor, int]], only: list[int] | None = None) -> float:
    """In percent; ``only`` restricts the arg-max to these classes."""
    right = 0
    for start in range(0, len(samples), 20):
        images, labels = zip(*samples[start:start + 20])
        logits = model(torch.stack(images))
        chosen = logits.argmax(1) if only is None else torch.tensor(only)[logits[:, only].argmax(1)]
        right += int((chosen == torch.tensor(labels)).sum())
    return 100 * right / len(samples)


def measure(name: str, model: cait_mm.models.Classifier, args: argparse.Namespace) -> Row:
    calibration = torch.stack([image for image, _ in small(args.small, 'train', args.calibration)])
    found = compressed(name, model, calibration)
    judged = list(small(args.small, 'val', args.per_class))
    return {'variant': name, 'gmacs': classifier_cost(found.spec).macs / 1e9,
            'saved_percent': 100 * cait_mm.summary(found).reduction, 'top1_sharp': top1(found, list(sharp(args.sharp))),
            'top1_small': top1(found, judged, sorted({label for _, label in judged}))}


def main() -> None:
    parser = parser_of(__doc__, 'untrained')
    parser.add_argument('--checkpoint', type=Path, default='checkpoints/deit_tiny_patch16_224-a1311bcf.pth')
    parser.add_argument('--sharp', type=Path, required=True, metavar='DIR')
    parser.add_argument('--small', type=Path, required=True, metavar='DIR')
    parser.add_argument('--per-class', type=positive_int, default=20, help='images judged of each class of --small')
    parser.add_argument('--calibration', type=positive_int, default=3, help='training images of each class')
    parser.add_argument('--variants', nargs='+', choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model, kept = cait_mm.load('deit_tiny', args.checkpoint), args.out / 'untrained.csv'
    done = {row['variant']: row for row in read_rows(kept)} if kept.is_file() else {}
    rows = []
    for name in args.variants:
        rows.append(done.get(name) or measure(name, model, args))
        keep_rows(kept, rows, ('variant', ))
    finish(args, 'untrained', ('variant', ), (VIEW, rows))


if __name__ == '__main__':
    run(main)
