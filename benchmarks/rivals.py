"""ATME, CDCP and their rivals on one real DeiT-Tiny: as they come, tuned without labels, fine-tuned with labels, timed.

--sharp and --small as in untrained.py; calibration, tuning and training see training images of --small alone. Every
model is made once, from some dozens of images, and kept in --out with all rows. --tune and --train add rows; --time
times the models, each mode and batch size in one interleaved run on a quiet machine.
"""
import argparse
import math
import re
import runpy
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import ablations
import torch
from curves import tuned
from shared import ROOT, Row, View, finish, keep_rows, kept, timed, timing
from untrained import Judge, calibration_images, parser_with_images

import cait_mm
from cait_mm.config.cli import parse_merges, positive_int, run, whole_number
from cait_mm.macs import classifier_cost, reduction
from cait_mm.models import Classifier
from cait_mm.pruning.compress import Compression, compress_backbone
from cait_mm.pruning.fold import PAD_TO, padded, with_folded
from cait_mm.pruning.scores import CALIBRATED, Score
from cait_mm.pruning.scores.nvit import nvit

CONFIGS: dict[str, dict[str, Any]] = runpy.run_path(str(ROOT / 'configs/_base_/backbones/rivals.py'))['rivals']
MERGES = '4:horizontal,7:vertical'
CHANNELS, BOTH = 0.25, 0.505
"""Shares of the MACs to save by channels alone, and by tokens and channels: the paper's of DeiT-Tiny."""
TOKENS: dict[str, dict[str, Any]] = {
    'ATME': dict(merge=MERGES, weighted=False),
    'ATME, weighted': dict(merge=MERGES),
    'ToMe': CONFIGS['tome'],
    'ToMe, r=14': dict(tokens=dict(type='ToMe', r=14)),
    'ToMe, halving': CONFIGS['tome_half'],
    'ToMe+Param': CONFIGS['tome_param'],
    'DiffRate': CONFIGS['diffrate'],
    'EViT': CONFIGS['evit_structured'],
    'Evo-ViT': dict(tokens=dict(type='EvoViT', keep=0.37, pool='cls')),
    'LFE': CONFIGS['lfe_structured'],
    'DynamicViT': dict(tokens=dict(type='DynamicViT', keep=0.615)),
    'dTPS': dict(tokens=dict(type='dTPS', keep=0.615)),
}
"""Tokens alone; free numbers are chosen to save what ATME saves, 43.7 %. Predictors (DynamicViT, dTPS) are random."""
SCORES = {'CDCP': CALIBRATED, 'LFS': 'lfs', 'NViT': 'nvit', 'S2ViTE': 's2vite', 'SAViT': 'savit',
          'magnitude': 'magnitude', 'Taylor': 'taylor'}
VARIANTS: dict[str, dict[str, Any]] = {
    'dense': {},
    **TOKENS,
    **{f'{name}{more}': dict(merge='', score=score, target=CHANNELS, **options) for more, options in (
        ('', {}), (', means kept', dict(ridge=math.inf))) for name, score in SCORES.items()},
    **{f'{tokens}+{name}': dict(TOKENS[own], score=SCORES[name], target=BOTH)
       for tokens, own in (('LFE', 'LFE'), ('ATME', 'ATME, weighted')) for name in ('LFS', 'CDCP')},
    'CAIT': dict(score=CALIBRATED, target=BOTH),
}
"""Merges (without any word about them they are planned) or another token reducer, and how channels are cut: by which
score, until how much of all MACs is saved. Zeros that pad widths count, so that all with one target cost the same.
"""
PREDICTED = ('DynamicViT', 'dTPS')
"""Tuning without labels has no gradient for their predictors."""
MODES = {'fused': (), 'unfused': ('--attention', 'eager'), 'compiled': ('--compile', 'backbone')}
BATCHES = (1, 32)
KEYS = ('variant', 'training', 'steps', 'seed')
VIEW: View = {
    'variant': '{variant}', 'training': '{training}', 'steps': '{steps}', 'seed': '{seed}', 'GMACs': '{gmacs:.3f}',
    'saved': '{saved_percent:.1f} %', 'params (M)': '{params_m:.2f}', 'sharp, 1000 classes': '{top1_sharp:.1f} %',
    'KL': '{kl_sharp:.3f}', 'small, 20 classes': '{top1_small:.1f} %',
    **{f'{mode}, batch {batch}': f'{{{mode}_{batch}_speedup:.2f}}x| {{{mode}_{batch}_noisy}}'
       for mode in MODES for batch in BATCHES},
    'MiB at most': '{fused_32_memory_mib:.0f}'}
TIMES = ('ms', 'half_iqr_percent', 'noisy', 'speedup', 'memory_mib')


class Maker:
    """Makes the model of a variant from the dense one, without training, once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, args.out / 'models'
        self.folder.mkdir(parents=True, exist_ok=True)

    def dense(self, tokens: dict[str, Any] | None = None) -> Classifier:
        torch.manual_seed(0)  # of predictors
        return cait_mm.load('deit_tiny', self.args.checkpoint, tokens=tokens)

    @cached_property
    def images(self) -> list[torch.Tensor]:
        """Batches to calibrate on, each with images of all classes."""
        images = calibration_images(self.args)
        return [images[first::self.args.calibration] for first in range(self.args.calibration)]

    def path(self, variant: str) -> Path:
        """The file of the model, which is made if it is not there."""
        path = self.folder / f'{re.sub("[^a-zA-Z0-9+.]+", "_", variant)}.pth'
        if not path.is_file():
            self._made(**VARIANTS[variant]).save(path)
        return path

    def _made(self, tokens: dict[str, Any] | None = None, merge: str | None = None, target: float = 0.,
              score: str | Score = CALIBRATED, **options: Any) -> Classifier:
        model = self.dense(tokens)
        if not target and merge is None:
            return model
        if score == 'nvit' and self.args.latency:
            score = partial(nvit, latency=self.args.latency)
        how = Compression(target, merge if merge is None else parse_merges(merge), PAD_TO, score=score, **options)
        folded, provenance = compress_backbone(
            model.backbone, self.images, how, lambda spec: reduction(padded(spec, PAD_TO)), partial(with_folded, model))
        return with_folded(model, folded, **provenance)


def untrained_and_tuned(args: argparse.Namespace, maker: Maker) -> Iterator[Row]:
    """The rows of models as they come, and after each number of steps without labels."""
    judge = Judge(maker.dense(), args)

    def measure(variant: str, training: str, steps: int, seed: int) -> Row:
        path = maker.path(variant)
        model, name = cait_mm.load(path), f'{path.stem}_{steps}_{seed}.pth'
        if steps:
            model = tuned(model, judge.dense, steps, seed, args.out / 'tuned' / name, args.small / 'train')
        return {**judge(model), 'params_m': classifier_cost(model.spec).params / 1e6}

    (args.out / 'tuned').mkdir(exist_ok=True)
    wanted = [(variant, 'none', 0, 0) for variant in args.variants]
    wanted += [(variant, 'tuned', steps, seed) for steps in args.tune for seed in args.seeds
               for variant in args.variants if variant not in ('dense', *PREDICTED)]
    return kept(args.out / 'rivals.csv', KEYS, wanted, measure, 'top1_small')


def trained(args: argparse.Namespace, maker: Maker) -> Iterator[Row]:
    """The rows of models that were fine-tuned as the ablations are, on the head's rows of the small images' classes.

    Models whose channels were cut are trained from there; CDCP empties its channels in the run.
    """
    def measure(variant: str, training: str, steps: int, seed: int) -> Row:
        own = argparse.Namespace(out=args.out / f'labels_{steps}', data_root=args.small, checkpoint=args.checkpoint,
                                 steps=steps)
        _, row = ablations.measure(variant, recipe(variant, maker), seed, own)
        return {'top1_small': row['top1'], **{name: row[name] for name in ('gmacs', 'saved_percent', 'params_m')}}

    wanted = [(variant, 'labels', steps, seed) for steps in args.train for seed in args.seeds
              for variant in args.variants]
    return kept(args.out / 'rivals.csv', KEYS, wanted, measure)


def recipe(variant: str, maker: Maker) -> dict[str, Any]:
    """A variant as the ablations train it."""
    how = VARIANTS[variant]
    if 'target' in how and not variant.endswith('CDCP'):
        start = maker.path(variant)
        spec = cait_mm.load(start).spec
        return dict(start=start, merge=','.join(map(str, spec.merges)), tokens=how.get('tokens'))
    kind = '_weighted' if how.get('weighted', True) else ''
    merge = ','.join(f'{merge}{kind}' for merge in parse_merges(how.get('merge', '')))
    cdcp = ablations.cdcp(how['target'], start='calibrated') if 'target' in how else None
    return dict(merge=merge, tokens=how.get('tokens'), cdcp=cdcp, lr_mult=1e-3)


def times(args: argparse.Namespace, maker: Maker) -> list[Row]:
    """Columns of time for the rows of models as they come; speeds are relative to the dense one, which is first."""
    names = sorted(args.variants, key=lambda name: name != 'dense')
    models, rows = list(map(maker.path, names)), [dict(zip(KEYS, (name, 'none', 0, 0))) for name in names]
    for mode in args.modes:
        for batch in args.batches:
            measured = timed(args.out / f'speed_{mode}_{batch}.json', models, '--shape', 224, 224, '--batch-size',
                             batch, '--rounds', args.rounds, '--keep-memory', *MODES[mode])
            for row, model in zip(rows, measured):
                columns = timing(model['overall'])
                row.update({f'{mode}_{batch}_{name}': columns[name] for name in TIMES}, machine=model['machine'])
            keep_rows(args.out / 'rivals.csv', rows, KEYS)
    return rows


def main() -> None:
    parser = parser_with_images(__doc__, 'rivals', per_class=50)
    parser.add_argument('--variants', nargs='+', choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument('--tune', nargs='+', type=positive_int, default=[], metavar='N',
                        help='tune for N steps without labels')
    parser.add_argument('--train', nargs='+', type=positive_int, default=[], metavar='N',
                        help='fine-tune for N steps with labels')
    parser.add_argument('--seeds', nargs='+', type=whole_number, default=[0])
    parser.add_argument('--latency', metavar='FILE', help='milliseconds by width (JSON), for NViT\'s second term')
    parser.add_argument('--time', action='store_true', help='time the models that are not trained, and nothing else')
    parser.add_argument('--modes', nargs='+', choices=list(MODES), default=list(MODES))
    parser.add_argument('--batches', nargs='+', type=positive_int, default=list(BATCHES))
    parser.add_argument('--rounds', type=positive_int, default=10)
    args = parser.parse_args()
    args.checkpoint = args.checkpoint.resolve()
    args.small = args.small.resolve()
    maker = Maker(args)
    rows = times(args, maker) if args.time else [*untrained_and_tuned(args, maker), *trained(args, maker)]
    finish(args, 'rivals', KEYS, (VIEW, rows))


if __name__ == '__main__':
    run(main)
