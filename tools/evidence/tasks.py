"""Every downstream task in small, on real data: dense, ATME and CAIT twins from a checkpoint to a number.

For each config: score the untrained heads, train (killed once after the first checkpoint, then resumed), score the last
checkpoint, draw its predictions, and count and time the twins side by side. Runs in --out, which holds data/ (see
tools/evidence/samples.py) and checkpoints/ as the configs name them. Finished steps are kept; --no-speed leaves the
timing to a later call on a quiet machine.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cait_mm.config.cli import add_json_option, positive_int, report, result_of, run, run_python
from cait_mm.config.load import load_config
from cait_mm.errors import UserError
from cait_mm.tasks import build_model
from cait_mm.utils.files import newest_checkpoint, write_json
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
DRAWN = 8
"""Pictures of each config to look at; drawing 133 classes takes longer than finding them."""
KINDS = ('dense', 'atme', 'cait')


@dataclass(frozen=True)
class Task:
    """A family of twins: ``name`` with their kind filled in, their scores, and the input that is timed."""
    name: str
    scores: tuple[str, ...]
    shape: tuple[int, int]
    batch_size: int = 4
    kinds: tuple[str, ...] = KINDS

    def configs(self, kinds: Sequence[str]) -> list[Path]:
        return [ROOT / 'configs' / f'{self.name.format("" if kind == "dense" else f"{kind}_")}.py'
                for kind in self.kinds if kind in kinds]


SEG, AERIAL, AP = ('mIoU', 'aAcc'), ('aAcc', 'mFscore', 'mIoU'), ('coco/bbox_mAP_50', 'coco/segm_mAP_50')
TASKS = {
    'fpn': Task('fpn_{}deit_t_coco_semantic', SEG, (320, 320)),
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
    'swin_cascade': Task('cascade_mask_rcnn_{}swin_coco', AP, (256, 352), 2, ('dense', 'atme')),
    'swin_cascade_scenes': Task('cascade_mask_rcnn_{}swin_scenes', ('coco/bbox_mAP', 'coco/segm_mAP'), (192, 192), 4,
                                ('dense', 'atme')),
    'swin_potsdam': Task('upernet_{}swin_potsdam', AERIAL, (512, 512)),
    'swin_isaid': Task('upernet_{}swin_isaid', ('aAcc', 'mIoU'), (896, 896), 1),
    'swin_polyp': Task('cascade_decoder_{}swin_polyp', ('mDice', 'mIoU'), (224, 224), 8),
}


def save_start(config: Path, target: Path) -> None:
    """The model as its run begins: the backbone's checkpoint and random heads."""
    torch.manual_seed(0)
    model = build_model(load_config(str(config)))
    model.init_weights()
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, target)


def train_killed_once(config: Path, folder: Path) -> None:
    """Train; the first process is killed as soon as it has written a checkpoint, and a second one resumes.

    Raises:
        UserError: The run ended before it could be killed, or failed.
    """
    words = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir', str(folder)]
    newest = folder / 'last_checkpoint'
    if not newest.is_file():
        process = subprocess.Popen(words, stdout=sys.stderr, start_new_session=True)
        while not newest.is_file() and process.poll() is None:
            time.sleep(0.2)
        if process.poll() is not None:
            raise UserError(f'{config.name} ended with status {process.returncode} before its first checkpoint.')
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run_python(*words[1:], '--resume')


def score(config: Path, folder: Path) -> dict[str, Any]:
    """Scores before and after training."""
    before, after = folder / 'before.json', folder / 'after.json'
    if not before.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_start(config, folder / 'start.pth')
        run_python(ROOT / 'tools/test.py', config, folder / 'start.pth', '--work-dir', folder, '--json', before)
        (folder / 'start.pth').unlink()
    if not after.is_file():
        train_killed_once(config, folder)
        test = [ROOT / 'tools/test.py', config, newest_checkpoint(folder), '--work-dir', folder]
        run_python(*test, '--show-dir', folder / 'shown', '--cfg-options', f'test_dataloader.dataset.indices={DRAWN}')
        run_python(*test, '--json', after)
    return {'before': json.loads(before.read_text()), 'after': json.loads(after.read_text())}


def speed(name: str, task: Task, args: argparse.Namespace) -> dict[str, Any]:
    """All twins in one interleaved run, whichever were trained."""
    dense, *others = task.configs(KINDS)
    return result_of(args.out / f'speed_{name}.json', ROOT / 'tools/benchmark.py', *others, '--against', dense,
                     '--shape', *task.shape, '--batch-size', task.batch_size, '--rounds', args.rounds,
                     '--keep-memory')['models']


def timed(part: dict[str, float]) -> str:
    return f'{part["speedup"]:.2f}x ({part["ideal"]:.2f}x)'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evidence_tasks'))
    parser.add_argument('--tasks', nargs='+', choices=list(TASKS), default=list(TASKS))
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS, help='which twins to train')
    parser.add_argument('--rounds', type=positive_int, default=10)
    parser.add_argument('--no-speed', action='store_true', help='leave the timing out')
    add_json_option(parser)
    args = parser.parse_args()
    args.out = args.out.resolve()
    for path in (args.out / 'data', args.out / 'checkpoints'):
        if not path.is_dir():
            raise UserError(f'{path} does not exist: tools/evidence/samples.py makes data/; put the weights that '
                            'docs/prepare_data.md names into checkpoints/.')
    os.chdir(args.out)
    result: dict[str, Any] = {}
    tables = []
    for name in args.tasks:
        task, rows = TASKS[name], []
        configs = task.configs(args.kinds)
        found = {config.stem: score(config, args.out / config.stem) for config in configs}
        times = {} if args.no_speed else speed(name, task, args)
        for config in configs:
            before, after = found[config.stem]['before'], found[config.stem]['after']
            costs = times.get(str(config), {})
            found[config.stem]['cost'] = costs
            # MMDetection gives no scores at all where nothing was detected
            parts = [costs[part] for part in ('encoder', 'overall') if part in costs]
            rows.append([config.stem, *(f'{before.get(key, 0):.3g} -> {after.get(key, 0):.3g}' for key in task.scores),
                         ' / '.join(f'{part["macs"] / 1e9:.2f}' for part in parts),
                         f'{costs["params"] / 1e6:.2f}' if costs else '', *map(timed, parts)])
        header = ['config', *task.scores, 'encoder / overall GMACs', 'params (M)', 'encoder speed (ideal)',
                  'overall speed (ideal)']
        tables.append(table(header, [row + [''] * (len(header) - len(row)) for row in rows]))
        result[name] = found
        write_json(args.out / f'{name}.json', found)
    report('\n\n'.join(tables), result, args.json)


if __name__ == '__main__':
    run(main)
