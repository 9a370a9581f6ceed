"""Compression without training, every means alone and together: a real DeiT-Tiny, judged as it comes.

--sharp holds images/ and labels.txt ("PATH INDEX" lines, all 1000 classes), --small an ImageFolder with train/, val/
and classes.txt ("folder ImageNet-index ..." lines), whose arg-max is taken over its classes. Calibration sees training
images of --small alone, and so does a search for the places to merge. Finished rows are kept.
"""
import argparse
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from shared import Row, View, finish, kept, parser_of
from timm.data import create_transform

import cait_mm
from cait_mm.config.cli import parse_merges, positive_int, run
from cait_mm.macs import classifier_cost, reduction
from cait_mm.pruning import search
from cait_mm.pruning.imitate import kl
from cait_mm.utils.inputs import read_lines
from cait_mm.utils.pictures import read_image

M57, M47, M48 = '5:horizontal,7:vertical', '4:horizontal,7:vertical', '4:horizontal,8:vertical'
MEAN, MEANS = dict(weighted=False), dict(ridge=math.inf)
TARGETS = (27, 35, 44, 50, 55)
CASES: dict[str, tuple[str | None, float, dict[str, Any]]] = {
    'dense': ('', 0., {}),
    **{f'{places}, {name}': (merges, 0.3, options) for places, merges in (('5h 7v', M57), ('4h 7v', M47))
       for name, options in (('mean', MEAN), ('weighted', {}), ('weighted, not proportional', dict(proportional=False)),
                             ('weighted, power 6', dict(power=6.)), ('weighted, power 12', dict(power=12.)))},
    **{f'4h 8v and a cut to 50.5 %, {name}': (M48, 0.505, options) for name, options in (
        ('mean, means kept', {**MEAN, **MEANS}), ('mean, ridge', MEAN), ('weighted, means kept', MEANS),
        ('weighted, ridge', {}))},
    **{f'a cut to 25 % alone, {name}': ('', 0.25, options) for name, options in (('means kept', MEANS), ('ridge', {}))},
    **{f'{target} %, {name}': (None, target / 100, options) for target in TARGETS for name, options in (
        ('rule', {}), ('nearest of 16', dict(search=16, sure=-math.inf)))},
}
"""Merges (None: the planner's, or searched), the target, and more options. ``sure`` is
:data:`~cait_mm.pruning.search.SURE`.
"""
SEARCHED = [f'{target} %, {name}' for target in TARGETS for name in ('rule', 'nearest of 16')]
VIEW: View = {'variant': '{variant}', 'GMACs': '{gmacs:.3f}', 'saved': '{saved_percent:.1f} %',
              'sharp, 1000 classes': '{top1_sharp:.1f} %', 'small, 20 classes': '{top1_small:.1f} %'}


def compressed(name: str, model: cait_mm.models.Classifier, images: torch.Tensor) -> cait_mm.models.Classifier:
    """The model of a case."""
    merges, target, options = CASES[name]
    if not target:
        return model
    power = options.get('power')
    with patch.object(search, 'SURE', options.get('sure', search.SURE)):
        small = cait_mm.compress(model, images, target=target, merge=None if merges is None else parse_merges(merges),
                                 **{key: value for key, value in options.items() if key not in ('power', 'sure')})
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
def logits(model: torch.nn.Module, samples: list[tuple[torch.Tensor, int]]) -> torch.Tensor:
    batches = (samples[start:start + 20] for start in range(0, len(samples), 20))
    return torch.cat([model(torch.stack([image for image, _ in batch])) for batch in batches])


def top1(predicted: torch.Tensor, labels: list[int], only: list[int]) -> float:
    """In percent, with the arg-max of logits over the classes ``only``."""
    return 100 * float((torch.tensor(only)[predicted[:, only].argmax(1)] == torch.tensor(labels)).double().mean())


class Judge:
    """Judges classifiers on both sets of images, which are loaded when the first one comes."""

    def __init__(self, dense: cait_mm.models.Classifier, args: argparse.Namespace) -> None:
        self.dense, self.args = dense, args

    @cached_property
    def sets(self) -> dict[str, list[tuple[torch.Tensor, int]]]:
        return {'sharp': list(sharp(self.args.sharp)),
                'small': list(small(self.args.small, 'val', self.args.per_class))}

    @cached_property
    def wanted(self) -> dict[str, torch.Tensor]:
        """The dense model's logits."""
        return {name: logits(self.dense, samples) for name, samples in self.sets.items()}

    def __call__(self, model: cait_mm.models.Classifier) -> Row:
        """Columns of MACs, of top-1 and of the KL from the dense model."""
        row = {'gmacs': classifier_cost(model.spec).macs / 1e9, 'saved_percent': 100 * reduction(model.spec)}
        for name, samples in self.sets.items():
            own, labels = logits(model, samples), [label for _, label in samples]
            only = sorted({*labels}) if name == 'small' else list(range(own.shape[1]))
            row.update({f'top1_{name}': top1(own, labels, only), f'kl_{name}': float(kl(own, self.wanted[name]))})
        return row


def calibration_images(args: argparse.Namespace) -> torch.Tensor:
    return torch.stack([image for image, _ in small(args.small, 'train', args.calibration)])


def parser_with_images(text: str, name: str, per_class: int) -> argparse.ArgumentParser:
    """A parser with the options of the model and of the images that it sees; ``per_class`` is a default."""
    parser = parser_of(text, name)
    parser.add_argument('--checkpoint', type=Path, default='checkpoints/deit_tiny_patch16_224-a1311bcf.pth')
    parser.add_argument('--sharp', type=Path, required=True, metavar='DIR')
    parser.add_argument('--small', type=Path, required=True, metavar='DIR')
    parser.add_argument('--per-class', type=positive_int, default=per_class,
                        help='images judged of each class of --small')
    parser.add_argument('--calibration', type=positive_int, default=3, help='training images of each class')
    return parser


def main() -> None:
    parser = parser_with_images(__doc__, 'untrained', per_class=20)
    parser.add_argument('--variants', nargs='+', choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = cait_mm.load('deit_tiny', args.checkpoint)
    judge, images = Judge(model, args), calibration_images(args)

    def measure(name: str) -> Row:
        case = compressed(name, model, images)
        return {'merges': ', '.join(map(str, case.spec.merges)).replace('_weighted', ''), **judge(case)}

    rows = list(kept(args.out / 'untrained.csv', ('variant', ), [(name, ) for name in args.variants], measure))
    finish(args, 'untrained', ('variant', ), (VIEW, rows))


if __name__ == '__main__':
    run(main)
