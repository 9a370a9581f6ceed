"""Every downstream task in small, on real data: dense, ATME and CAIT twins from a checkpoint to a number.

For each config: test the untrained heads, train, test the last checkpoint, draw its predictions, and count and time the
twins side by side. Runs in --out, which holds data/ (see benchmarks/samples.py) and checkpoints/ as the configs name
them. --no-speed leaves the timing to a later call on a quiet machine; --restore-mode trains the merged twins with maps
restored in another way than their configs say. Tasks rivals_* have the paper's rivals beside the twins, which are
trained once for both.
"""
import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from shared import Row, View, add_timings, config_of, finish, parser_of, ratio, tested, tool, write_config

from cait_mm.config.cli import positive_int, run
from cait_mm.config.load import load_config
from cait_mm.errors import UserError
from cait_mm.ops.token_merge import RESTORE_MODES
from cait_mm.tasks import build_model
from cait_mm.utils.files import newest_checkpoint

DRAWN = 8
"""Pictures of each config to look at; drawing 133 classes takes longer than finding them."""
TWINS = ('dense', 'atme', 'cait')
RIVALS = ('tome', 'diffrate', 'evit_structured', 'evit_unstructured', 'lfe_structured', 'lfe_unstructured', 'evovit')
KINDS = {'dense': '', **{kind: f'{kind}_' for kind in (*TWINS[1:], *RIVALS)}}
"""Kinds of backbones, and how the names of their configs say so."""


def column(score: str) -> str:
    """A score's name where a template can hold it."""
    return re.sub(r'\W', '_', score)


@dataclass(frozen=True)
class Task:
    """A family of twins: ``name`` with their kind filled in, their scores, and the input that is timed."""
    name: str
    scores: tuple[str, ...]
    shape: tuple[int, int]
    batch_size: int = 4
    kinds: Sequence[str] = TWINS

    def configs(self, restore_mode: str | None = None) -> dict[str, Path]:
        """Kinds, the dense one first, and their configs; ``restore_mode`` changes that of the others."""
        configs = {kind: config_of(self.name.format(KINDS[kind])) for kind in self.kinds}
        if restore_mode is None:
            return configs
        changes = dict(model=dict(backbone=dict(restore_mode=restore_mode)))
        return {kind: path if kind == 'dense' else write_config(
            Path(f'{path.stem}_{restore_mode}.py').resolve(), path.stem, **changes) for kind, path in configs.items()}

    @property
    def view(self) -> View:
        """Scores before and after training, MACs, and speeds."""
        scores = {score: f'{{before_{column(score)}:.4g}} → |{{after_{column(score)}:.4g}}' for score in self.scores}
        return {'config': '`{config}`', **scores,
                f'GMACs at {self.shape[0]}x{self.shape[1]}, encoder / overall': '{encoder_gmacs:.2f} / |'
                '{overall_gmacs:.2f}', 'params (M)': '{params_m:.1f}',
                'encoder speed (ideal)': ratio('encoder_'), 'overall speed (ideal)': ratio('overall_')}


SEG, AERIAL, AP = ('mIoU', 'aAcc'), ('aAcc', 'mFscore', 'mIoU'), ('coco/bbox_mAP_50', 'coco/segm_mAP_50')
TASKS = {
    'fpn': Task('fpn_{}deit_t_coco_semantic', SEG, (320, 320)),
    'camvid': Task('upernet_{}deit_t_camvid', SEG, (352, 480), 1),
    'mask2former': Task('mask2former_{}deit_t_camvid', SEG, (352, 480)),
    'mask_rcnn': Task('mask_rcnn_{}deit_t_coco', AP, (256, 352), 2),
    'mask_rcnn_scenes': Task('mask_rcnn_{}deit_scenes', ('coco/bbox_mAP', 'coco/segm_mAP'), (192, 192)),
    'potsdam': Task('upernet_{}deit_t_potsdam', AERIAL, (512, 512)),
    'isaid': Task('upernet_{}deit_t_isaid', ('aAcc', 'mIoU'), (896, 896), 1),
    # hearts under the first three organs' names; the other five are in no volume
    'synapse': Task('cascade_decoder_{}deit_t_synapse', ('Dice.aorta', 'Dice.gallbladder', 'Dice.left_kidney'),
                    (224, 224), 8),
    'acdc': Task('cascade_decoder_{}deit_t_acdc', ('mDice', 'mHD95'), (224, 224), 8),
    'polyp': Task('cascade_decoder_{}deit_t_polyp', ('mDice', 'mIoU'), (224, 224), 8),
    'swin_camvid': Task('upernet_{}swin_camvid', SEG, (352, 480)),
    'lvvit_camvid': Task('upernet_{}lvvit_camvid', SEG, (352, 480), kinds=('dense', 'cait')),
    'swin_cascade': Task('cascade_mask_rcnn_{}swin_coco', AP, (256, 352), 2, ('dense', 'atme')),
    'swin_cascade_scenes': Task('cascade_mask_rcnn_{}swin_scenes', ('coco/bbox_mAP', 'coco/segm_mAP'), (192, 192), 4,
                                ('dense', 'atme')),
    'swin_potsdam': Task('upernet_{}swin_potsdam', AERIAL, (512, 512)),
    'swin_isaid': Task('upernet_{}swin_isaid', ('aAcc', 'mIoU'), (896, 896), 1),
    'swin_polyp': Task('cascade_decoder_{}swin_polyp', ('mDice', 'mIoU'), (224, 224), 8),
}
TASKS.update({f'rivals_{name}': replace(TASKS[name], kinds=tuple(KINDS)) for name in ('camvid', 'fpn', 'mask_rcnn')})


def trained(config: Path) -> Path:
    """The last checkpoint of a config's run, which is begun, continued, or complete already."""
    folder = Path(config.stem).resolve()
    tool('train', config, '--work-dir', folder, '--resume')
    return newest_checkpoint(folder)


def scores_of(config: Path, names: Sequence[str]) -> Row:
    """Scores before and after training. A run begins with the backbone's checkpoint and random heads."""
    folder = Path(config.stem).resolve()
    start, before, after = (folder / name for name in ('start.pth', 'before.json', 'after.json'))
    if not before.is_file():
        torch.manual_seed(0)
        model = build_model(load_config(str(config)))
        model.init_weights()
        folder.mkdir(exist_ok=True)
        torch.save({'state_dict': model.state_dict(), 'meta': {}}, start)
    scores = {'before': tested(config, start, before)}
    start.unlink(missing_ok=True)
    if not after.is_file():
        tool('test', config, trained(config), '--work-dir', folder, '--show-dir', folder / 'shown',
             '--cfg-options', f'test_dataloader.dataset.indices={DRAWN}')
    scores['after'] = tested(config, newest_checkpoint(folder), after)
    # MMDetection gives no scores at all where nothing was detected
    return {f'{when}_{column(name)}': tests.get(name, 0) for when, tests in scores.items() for name in names}


def measure(name: str, args: argparse.Namespace) -> tuple[View, list[Row]]:
    """A task's table: its twins of the wanted kinds, timed with all of them."""
    task = TASKS[name]
    configs = task.configs(args.restore_mode)
    rows = {config: {'task': name, 'config': config.stem, **scores_of(config, task.scores)}
            for kind, config in configs.items() if kind in args.kinds}
    if not args.no_speed:
        add_timings({config: rows.get(config, {}) for config in configs.values()}, args.out / f'speed_{name}.json',
                    {'encoder': 'encoder_', 'overall': 'overall_'}, '--shape', *task.shape, '--batch-size',
                    task.batch_size, '--rounds', args.rounds, '--keep-memory')
    return task.view, list(rows.values())


def main() -> None:
    parser = parser_of(__doc__, 'tasks')
    parser.add_argument('--tasks', nargs='+', choices=list(TASKS),
                        default=[name for name in TASKS if not name.startswith('rivals_')])
    parser.add_argument('--kinds', nargs='+', choices=list(KINDS), default=list(KINDS), help='which twins to train')
    parser.add_argument('--restore-mode', choices=RESTORE_MODES, help='of the merged twins')
    parser.add_argument('--rounds', type=positive_int, default=10)
    parser.add_argument('--no-speed', action='store_true', help='leave the timing out')
    args = parser.parse_args()
    for path in (args.out / 'data', args.out / 'checkpoints'):
        if not path.is_dir():
            raise UserError(f'{path} does not exist: benchmarks/samples.py makes data/, docs/benchmarks.md '
                            'some checkpoints; docs/prepare_data.md names the others.')
    here = os.getcwd()
    os.chdir(args.out)  # configs name data/ and checkpoints/
    tables = [measure(name, args) for name in args.tasks]
    os.chdir(here)
    finish(args, 'tasks', ('task', 'config'), *tables)


if __name__ == '__main__':
    run(main)
