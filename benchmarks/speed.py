"""The speed of dense, ATME, CAIT and ToMe models, each case in one interleaved run of tools/benchmark.py.

Random weights. CAIT has the widths that stand in for a checkpoint's in the upernet_cait_* configs; tools/benchmark.py
times real compressed checkpoints. Cases scaling_* vary the side of the input and the number of merges; step* are
training steps.
"""
import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared import Row, View, config_of, finish, parser_of, timed, timing, write_config

from cait_mm.classification import Classifier
from cait_mm.config.cli import positive_int, run
from cait_mm.config.load import load_config

SCALING = {'dense': (), '1 merge': ((4, 'horizontal'),), '2 merges': ((4, 'horizontal'), (7, 'vertical')),
           '3 merges': ((3, 'horizontal'), (5, 'vertical'), (8, 'horizontal'))}
TWINS = ('', 'atme_', 'cait_')


@dataclass(frozen=True)
class Case:
    """Models that are timed together: configs, the dense one first.

    A classifier's case names its ``arch``, which adds a compressed checkpoint. One config alone is varied by SCALING.
    """
    configs: Sequence[str]
    parts: tuple[str, ...]
    shape: tuple[int, int]
    batches: tuple[int, ...] = (1,)
    arch: str = ''

    def models(self, folder: Path) -> list[Path]:
        if len(self.configs) == 1:
            return [write_config(folder / f'{name.replace(" ", "_")}_{self.shape[0]}.py', *self.configs, model=dict(
                backbone=dict(merge=merge, img_size=self.shape, init_cfg=None))) for name, merge in SCALING.items()]
        return [*map(config_of, self.configs), *([stand_in(self.arch, folder)] if self.arch else [])]


def twins(head: str, backbone: str, data: str = 'ade20k', shape: tuple[int, int] = (512, 512)) -> Case:
    """Dense, ATME and CAIT with one head."""
    return Case([f'{head}_{kind}{backbone}_{data}' for kind in TWINS], ('encoder', 'overall'), shape)


DINO = 'dinov2_s', 'dinov2_b', 'dinov3_s', 'dinov3_b'
PLAIN_VITS = {
    **{vit: twins('upernet', vit) for vit in DINO},
    **{f'{head}_{vit}': twins(head, vit) for head in ('mask2former', 'linear') for vit in DINO},
    **{f'vitdet_{vit}': twins('vitdet', vit, 'coco', (1024, 1024)) for vit in ('vit_b', 'dinov3_b')},
}
CLASSIFIER = (('overall',), (224, 224), (1, 32))
CASES = {
    'deit_s': Case(['deit_s_600e_imagenet', 'compress_atme43_deit_s_imagenet', 'tome_half_deit_s_imagenet',
                    'tome_deit_s_imagenet'], *CLASSIFIER, 'deit_s'),
    **{arch: Case([f'{arch}_600e_imagenet', f'compress_cait_{arch}_imagenet'], *CLASSIFIER, arch)
       for arch in ('deit_t', 'deit_b', 'swin_t')},
    'deit_s_512': Case([f'upernet_{kind}deit_s_ade20k' for kind in (*TWINS, 'tome_half_')], ('backbone',), (512, 512),
                       (1, 4)),
    **{head: twins(head, 'deit_s') for head in ('fpn', 'upernet', 'mask2former')},
    **PLAIN_VITS,
    'mask_rcnn': twins('mask_rcnn', 'deit_s', 'coco', (800, 1344)),
    'step': Case(['deit_s_600e_imagenet', 'compress_atme43_deit_s_imagenet', 'compress_cait_deit_s_imagenet'],
                 ('step',), (224, 224), (32, 64)),
    'step_camvid': Case(['upernet_deit_t_camvid', 'upernet_atme_deit_t_camvid'], ('step',), (320, 320), (4,)),
    **{f'scaling_{side}': Case(['upernet_deit_s_ade20k'], ('backbone',), (side, side),
                               (1, 4, 16, 64) if side == 224 else (1,)) for side in (224, 320, 448, 672, 896, 1344)},
}
"""Classifiers of CAIT configs are timed with their merges alone; compressed checkpoints have pruned widths too."""
KEYS = ('case', 'model', 'part', 'input', 'batch', 'mode', 'machine')
VIEW: View = {
    'case': '{case}', 'model': '`{model}`', 'part': '{part}', 'input': '{input}', 'batch': '{batch}', 'mode': '{mode}',
    'GMACs': '{gmacs:.2f}', 'median (half the quartiles\' distance)': '{ms:.4g} ms| ±{half_iqr_percent:.2g} %| {noisy}',
    'speed-up': '{speedup:.2f}x', 'ideal': '{ideal:.2f}x| (cap {cap:.2f}x)', 'MiB at most': '{memory_mib:.0f}',
    'attention': '{attention}'}


def stand_in(arch: str, folder: Path) -> Path:
    """A checkpoint with random weights and the widths of the ``upernet_cait_*`` config."""
    backbone = load_config(str(config_of(f'upernet_cait_{arch}_ade20k'))).model.backbone
    path = folder / f'cait_{arch}.pth'
    Classifier({key: backbone[key] for key in ('type', 'arch', 'merge', 'qk_dim', 'v_dim', 'ffn_dim')}).save(path)
    return path


def measure(name: str, batch: int, args: argparse.Namespace) -> list[Row]:
    """The rows of one interleaved run."""
    case = CASES[name]
    result, models = '_'.join(map(str, (name, batch, *args.mode))), case.models(args.out)
    parts = ['--train-step'] if case.parts == ('step',) else ['--parts', *case.parts]
    words = ('--shape', *case.shape, '--batch-size', batch, *args.mode)
    measured = timed(args.out / f'{result}.json', models, *parts, *words)
    return [{'case': name, 'model': path.stem, 'part': part, 'input': 'x'.join(map(str, case.shape)), 'batch': batch,
             'mode': ' '.join(args.mode), **timing(model[part]), 'attention': ', '.join(model['attention']),
             'machine': model['machine']}
            for path, model in zip(models, measured) for part in case.parts]


def main() -> None:
    parser = parser_of(__doc__, 'speed')
    parser.add_argument('--cases', nargs='+', choices=list(CASES), default=list(CASES))
    parser.add_argument('--batches', nargs='+', type=positive_int, help='instead of those of the cases')
    parser.add_argument('mode', nargs='*', help='after --: options of tools/benchmark.py, as --rounds 15 --keep-memory')
    args = parser.parse_args()
    rows = [row for name in args.cases for batch in args.batches or CASES[name].batches
            for row in measure(name, batch, args)]
    finish(args, 'speed', KEYS, (VIEW, rows))


if __name__ == '__main__':
    run(main)
