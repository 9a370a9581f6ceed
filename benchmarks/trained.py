"""Trained segmentors and detectors compressed without labels: as they come, and after some steps of tuning.

The paper's rivals in the same trained model are tested and tuned the same way. Runs where tasks.py does: --out holds
data/, checkpoints/ and the dense model of a task, which is trained if it is not there. Rows tell how long tuning took,
and the distance on images held out before and after it. --time times the encoders of a task in one interleaved run, on
a quiet machine. Finished models are kept.
"""
import os
import re
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from rivals import CONFIGS
from shared import Row, View, add_timings, finish, keep_rows, parser_of, ratio, tested
from tasks import TASKS, trained

from cait_mm.compression.model import Compressed, compress_model
from cait_mm.compression.tuning import discard, prepare_tuning, tune_compressed
from cait_mm.config.cli import positive_int, run, whole_number
from cait_mm.tasks import build_model
from cait_mm.utils.files import read_json

PLACES = {**dict.fromkeys(TASKS, (4, 7)), 'mask_rcnn_scenes': (2, 5)}
"""The blocks before which two merges halve the tokens, of the 12 of a DeiT or the 8 of the scenes' ViT."""
VARIANTS: dict[str, dict[str, Any]] = {
    'dense': {},
    'merges, as merged': dict(target=0.3, restore_mode='nearest'),
    'merges, differences': dict(target=0.3, restore_mode='residual'),
    'merges, interpolated': dict(target=0.3, restore_mode='residual_bilinear'),
    'merges': dict(target=0.3),
    'merges and a cut': dict(target=0.55),
    'ToMe, halving': dict(restore_mode='nearest'),
    'ToMe, halving, residual maps': dict(restore_mode='residual')}
"""Arguments of the compression, or of ToMe's backbone. The target of merges alone is below what they save."""
RIVALS: dict[str, dict[str, Any]] = {
    'DiffRate': CONFIGS['diffrate'],
    'EViT, structured': CONFIGS['evit_structured'],
    'EViT, unstructured': CONFIGS['evit_unstructured'],
    'LFE, structured': CONFIGS['lfe_structured'],
    'LFE, unstructured': CONFIGS['lfe_unstructured'],
    'Evo-ViT': CONFIGS['evovit']}
"""Arguments of the backbones of others, all of 12 blocks."""
KEYS = ('task', 'variant', 'steps', 'seed')
SCORES = {'camvid': 'mIoU', 'mask2former': 'mIoU', 'acdc': 'mDice', 'polyp': 'mDice', 'mask_rcnn': 'coco/bbox_mAP_50',
          'mask_rcnn_scenes': 'coco/bbox_mAP'}
VIEW: View = {
    'task': '{task}', 'variant': '{variant}', 'steps': '{steps}', 'seed': '{seed}', 'score': '{score:.2f}',
    'encoder GMACs': '{macs_g:.2f}', 'saved': '{saved_percent:.1f} %',
    'encoder speed (ideal)': ratio('encoder_')}


def made(variant: str, config: Path, checkpoint: Path, places: tuple[int, int]) -> Compressed:
    """A trained model and its smaller form, not tuned."""
    options = dict({**VARIANTS, **RIVALS}[variant])
    if 'target' in options:
        merges = tuple(zip(places, ('horizontal', 'vertical')))
        return compress_model(str(config), str(checkpoint), None, options.pop('target'), merge=merges, **options)
    dense = compress_model(str(config), str(checkpoint), None, 0.)
    if variant == 'dense':
        return dense
    settings = deepcopy(dense.config)
    settings.model.backbone.update({'tokens': dict(type='ToMe', r=[(place, 'half') for place in places]), **options})
    small = build_model(settings).eval()
    small.load_state_dict({**small.state_dict(), **dense.dense.state_dict()})  # mask tokens are the small one's own
    return replace(dense, small=small, config=settings)


def row_of(key: tuple[str, str, int, int], config: Path, folder: Path) -> Row:
    """Make, tune and test one model; ``folder`` keeps it."""
    (task, variant, steps, seed), seconds = key, {}
    if not (folder / 'result.json').is_file():
        model = made(variant, config, trained(config), PLACES[task])
        if steps:
            tuning, begun = prepare_tuning(model, None, steps, folder / 'tuning', seed=seed), time.monotonic()
            teacher = tuning.model.teacher.backbone
            teacher.pop('tokens', None)  # the teacher of a rival is the dense model too
            tune_compressed(model, tuning)
            seconds = dict(tuning_s=time.monotonic() - begun)
        model.save(folder)
        if steps:
            discard(folder / 'tuning')
    result = read_json(folder / 'result.json')
    scores = tested(folder / 'config.py', folder / 'model.pth', folder / 'test.json')
    tuned = {f'kl_{name}': result['tuned'][name] for name in ('before', 'after', 'best_step')} if steps else {}
    # MMDetection gives no scores at all where nothing was detected
    return {**dict(zip(KEYS, key)), 'score': scores.get(SCORES[task], 0), **tuned, **seconds,
            'macs_g': result['small']['backbone']['macs'] / 1e9, 'saved_percent': 100 * result['reduction']}


def main() -> None:
    parser = parser_of(__doc__, 'trained', 'tasks')
    parser.add_argument('--tasks', nargs='+', choices=list(SCORES), default=list(SCORES))
    parser.add_argument('--variants', nargs='+', choices=[*VARIANTS, *RIVALS], default=list(VARIANTS))
    parser.add_argument('--steps', nargs='*', type=whole_number, default=[0, 200], help='of tuning')
    parser.add_argument('--seeds', nargs='+', type=whole_number, default=[0], help='of tuning')
    parser.add_argument('--rounds', type=positive_int, default=10)
    parser.add_argument('--time', action='store_true', help='time the encoders of models that are not tuned')
    args = parser.parse_args()
    here = os.getcwd()
    os.chdir(args.out)  # configs name data/ and checkpoints/
    rows = []
    for task in args.tasks:
        config, own = TASKS[task].configs()['dense'], {}
        for variant in args.variants:
            for steps in args.steps if variant != 'dense' else (0,):
                for seed in args.seeds if steps else (0,):
                    folder = args.out / 'trained' / re.sub(r'\W+', '_', f'{task} {variant} {steps} {seed}')
                    row = row_of((task, variant, steps, seed), config, folder)
                    keep_rows(args.out / 'trained.csv', [row], KEYS)
                    rows.append(row)
                    if not steps:
                        own[folder / 'config.py'] = row
        if args.time:
            add_timings(own, args.out / f'speed_trained_{task}.json', {'encoder': 'encoder_'}, '--shape',
                        *TASKS[task].shape, '--rounds', args.rounds, '--keep-memory')
    os.chdir(here)
    finish(args, 'trained', KEYS, (VIEW, rows))


if __name__ == '__main__':
    run(main)
