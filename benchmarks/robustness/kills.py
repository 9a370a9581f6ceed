"""Kill small runs of three kinds at random moments, resume them, and compare the end with the uninterrupted run's.

Each kill is SIGKILL, SIGTERM or SIGINT in turn, at a moment drawn from the seed: a share of the CPU time that a whole
run takes, so that a machine with other work spreads them alike. What has to hold: the checkpoints of the resumed run
have the bits of the uninterrupted one (weights, averaged weights, optimizer, schedulers), the best checkpoint is the
same, the metrics are the same; no file is torn right after the kill, none is left half-written at the end; SIGTERM and
SIGINT say one line. The libraries are loaded once, every run is a fork. Finished kills are kept under --out, and a
second call does the others.
"""
import argparse
import contextlib
import json
import math
import os
import random
import runpy
import shutil
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import cait_mm  # noqa: F401  loads what every run needs
from cait_mm.config.cli import add_json_option, output_folder, positive_int, report, run, whole_number
from cait_mm.config.load import load_config
from cait_mm.datasets.scenes import make_scenes
from cait_mm.engine.loader import load_file
from cait_mm.errors import UserError
from cait_mm.utils.files import kept, read_json
from cait_mm.utils.tables import table

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = ('SIGKILL', 'SIGTERM', 'SIGINT')
COMPARED = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
COMMON = """
_base_ = '{root}/configs/{base}.py'
arch = dict(_delete_=True, embed_dim=16, depth=4, num_heads=2, img_size=(64, 64))
start = dict(_delete_=True, type='TruncNormal', layer='Linear', std=0.02)
"""
CONFIGS = {
    'compression': ('compress_cait_deit_scenes', """
model = dict(
    backbone=dict(arch=arch, drop_path_rate=0.1, merge=((1, 'horizontal'), (2, 'vertical')), init_cfg=None),
    distillation=dict(alpha=0.), new_head=True,
    cdcp=dict(target=0.5, start='calibrated', start_epoch=0, interval=2, calibration_images=8))
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(
    data_root='{data}/classification',
    transform=dict(input_size=64, auto_augment='rand-m9-mstd0.5-mmax9-inc1', re_prob=0.25)))
val_dataloader = dict(num_workers=0, dataset=dict(data_root='{data}/classification', transform=dict(input_size=64)))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=6, val_interval=2)
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=6, convert_to_iter_based=True)]
"""),
    'segmentor': ('upernet_atme_deit_scenes', """
norm_cfg = dict(type='BN')
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(arch=arch, img_size=(64, 64), drop_path_rate=0.1, merge=((1, 'horizontal'), (2, 'vertical')),
                  out_indices=(0, 1, 2, 3), init_cfg=None),
    neck=dict(embed_dim=16, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[16] * 4, channels=8, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=16, channels=8, norm_cfg=norm_cfg))
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root='{data}'))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=24, val_interval=8)
default_hooks = dict(checkpoint=dict(interval=4), logger=dict(interval=4))
param_scheduler = [dict(type='PolyLR', power=1., by_epoch=False, begin=0, end=24)]
"""),
    'detector': ('mask_rcnn_deit_scenes', """
norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(arch=arch, img_size=(64, 64), drop_path_rate=0.1, out_indices=(0, 1, 2, 3), init_cfg=None),
    neck=[dict(type='TokenPyramid', embed_dim=16, rescales=(4, 2, 1, 0.5), norm_cfg=norm_cfg),
          dict(type='FPN', in_channels=[16] * 4, out_channels=16, num_outs=5)],
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16)),
    train_cfg=dict(rpn_proposal=dict(max_per_img=16), rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rpn=dict(max_per_img=16), rcnn=dict(score_thr=0., max_per_img=4)))
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(data_root='{data}', filter_cfg=dict(min_size=1)))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/instances_validation.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=4, val_interval=2)
default_hooks = dict(logger=dict(interval=2))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, begin=0, end=4, milestones=[3])]
"""),
}


def start(log: Path, tool: str, *words: Any) -> int:
    """Fork a process that runs ``tools/TOOL.py WORDS``; its number. Its output goes to ``log``."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(output, number)
        sys.path.insert(0, str(ROOT / 'tools'))
        sys.argv = [f'{tool}.py', *map(str, words)]
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
    except SystemExit as stop:
        status = stop.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status if isinstance(status, int) else 1)


def train(config: Path, work_dir: Path, log: Path, *words: Any) -> int:
    """Start tools/train.py; its number."""
    return start(log, 'train', config, '--work-dir', work_dir, '--json', f'{work_dir}.json', *words)


def finish(child: int) -> int:
    """Wait for a process; its status, the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def differing(wanted: Any, found: Any, name: str = '') -> str | None:
    """The name of the first leaf that has other bits; None where all are the same."""
    if isinstance(wanted, torch.Tensor):
        same = isinstance(found, torch.Tensor) and wanted.dtype == found.dtype and torch.equal(wanted, found)
        return None if same else name
    if type(wanted) is not type(found):
        return name
    if isinstance(wanted, dict):
        if wanted.keys() != found.keys():
            return name
        pairs = ((key, wanted[key], found[key]) for key in wanted)
    elif isinstance(wanted, (list, tuple)):
        if len(wanted) != len(found):
            return name
        pairs = ((index, *pair) for index, pair in enumerate(zip(wanted, found)))
    else:
        return None if wanted == found else name
    return next((other for key, *pair in pairs if (other := differing(*pair, f'{name}.{key}'))), None)


def weights(folder: Path, pattern: str) -> dict[str, Path]:
    return {path.name: path for path in folder.glob(pattern) if not path.name.startswith('.')}


def compare(whole: Path, folder: Path) -> list[str]:
    """What the end of a resumed run has that the uninterrupted one has not, or the other way round."""
    found = []
    last = max(weights(whole, '*_*.pth'), key=lambda name: (not name.startswith('best'), int(name[:-4].split('_')[-1])))
    for name in (last, *sorted(weights(whole, 'best_*.pth'))):
        if not (folder / name).is_file():
            found.append(f'{name} is missing')
            continue
        wanted, mine = (load_file(path / name) for path in (whole, folder))
        found += [f'{name}: {other} differs' for key in COMPARED
                  if (other := differing(wanted.get(key), mine.get(key), key))]
    found += [f'{name} is another best' for name in weights(folder, 'best_*.pth').keys() - weights(whole, 'best_*.pth')]
    results = [json.loads(Path(f'{path}.json').read_text()) for path in (whole, folder)]
    found += [f'{key} is {results[1][key]} in --json' for key in ('iter', 'epoch', 'metrics')
              if results[0][key] != results[1][key]]
    return found


def torn(folder: Path) -> list[str]:
    """Checkpoints under their final name that are not whole."""
    found = []
    for name, path in weights(folder, '*.pth').items():
        try:
            whole = zipfile.ZipFile(path).testzip() is None
        except zipfile.BadZipFile:
            whole = False
        if not whole:
            found.append(name)
    return found


def left_over(folder: Path) -> list[str]:
    """What a run that has ended should not leave."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name.startswith('.'))


def kill(kind: str, index: int, seconds: float, args: argparse.Namespace) -> dict[str, Any]:
    """One run that is killed and resumed."""
    chance = random.Random(f'{args.seed} {kind} {index}')
    folder, config = args.out / kind / f'kill_{index:04d}', args.out / f'{kind}.py'
    log, word = Path(f'{folder}.log'), SIGNALS[index % len(SIGNALS)]
    shutil.rmtree(folder, ignore_errors=True)
    for path in (log, Path(f'{folder}.json')):
        path.unlink(missing_ok=True)
    moment = chance.uniform(0.02, 1.) * seconds
    child = train(config, folder, log)
    while cpu_seconds(child) < moment:
        time.sleep(0.01)
    os.kill(child, getattr(signal, word))
    status = finish(child)
    said = log.read_text().splitlines() if log.is_file() else []
    there = folder.is_dir()
    result = {'signal': word, 'moment': moment, 'status': status, 'torn': torn(folder) if there else [],
              'checkpoints': sorted(weights(folder, '*.pth')) if there else [],
              'said': [line for line in said if line.startswith('error: ')],
              'traceback': any(line.startswith('Traceback') for line in said)}
    result['resumed'] = finish(train(config, folder, log, '--resume'))
    if result['resumed'] == 0:
        result['differs'] = compare(args.out / kind / 'whole', folder)
        result['left'] = left_over(folder)
    if result['resumed'] == 0 and not args.keep:
        shutil.rmtree(folder)
    return result


def faults(result: dict[str, Any]) -> dict[str, bool]:
    """What of a kill's result must not be."""
    asked = result['signal'] != 'SIGKILL' and result['status'] != 0
    number = getattr(signal, result['signal'])
    return {
        'torn': bool(result['torn']), 'not resumed': result['resumed'] != 0,
        'other bits': any('differs' in line for line in result.get('differs', ())),
        'other best': any('best' in line and 'differs' not in line for line in result.get('differs', ())),
        'other metrics': any('--json' in line for line in result.get('differs', ())),
        'left over': bool(result.get('left')),
        'said wrongly': result['traceback'] or asked and (result['status'] != 128 + number or len(result['said']) != 1),
    }


def cpu_seconds(child: int) -> float:
    """CPU time of a process without its children; infinite where it has ended."""
    fields = Path(f'/proc/{child}/stat').read_text().rpartition(')')[2].split()
    return math.inf if fields[0] == 'Z' else (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def uninterrupted(kind: str, args: argparse.Namespace) -> float:
    """Run ``kind`` to its end, unless that was done; the seconds of CPU time that it took."""

    def measure() -> float:
        folder = args.out / kind / 'whole'
        shutil.rmtree(folder, ignore_errors=True)
        log, taken = Path(f'{folder}.log'), 0.
        child = train(args.out / f'{kind}.py', folder, log)
        while math.isfinite(now := cpu_seconds(child)):
            taken = now
            time.sleep(0.01)
        if finish(child):
            raise RuntimeError(f'the uninterrupted run failed, see {log}')
        return taken

    return kept(args.out / kind / 'seconds.json', measure)


def work(jobs: Sequence[tuple[str, int]], seconds: dict[str, float], args: argparse.Namespace) -> None:
    for kind, index in jobs:
        kept(args.out / kind / f'{index:04d}.json', lambda: kill(kind, index, seconds[kind], args))  # noqa: B023


def prepare(args: argparse.Namespace) -> None:
    """Data, configs, and the libraries, loaded once for all forks."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    make_scenes(args.out / 'scenes', train=16, val=8, size=(64, 64))
    for kind in args.kinds:
        base, text = CONFIGS[kind]
        (args.out / kind).mkdir(exist_ok=True)
        path = args.out / f'{kind}.py'
        path.write_text((COMMON + text).format(root=ROOT, base=base, data=args.out / 'scenes'))
        load_config(str(path))


def make_kills(args: argparse.Namespace) -> None:
    """All kills that are not finished, in processes of their own.

    Raises:
        UserError: A process failed, and has said why.
    """
    prepare(args)
    seconds = {kind: uninterrupted(kind, args) for kind in args.kinds}
    jobs = [(kind, index) for index in range(args.kills) for kind in args.kinds]
    workers = []
    for number in range(args.jobs):
        worker = os.fork()
        if not worker:
            try:
                work(jobs[number::args.jobs], seconds, args)
            except BaseException as error:
                print(f'{type(error).__name__}: {error}', file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        workers.append(worker)
    statuses = [finish(worker) for worker in workers]
    if any(statuses):
        raise UserError('a process failed; run this again to continue')


def summary(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A table of the kills that are finished, and their results."""
    rows, found, seconds = [], {}, {}
    for kind in args.kinds:
        files = {index: args.out / kind / f'{index:04d}.json' for index in range(args.kills)}
        results = found[kind] = {f'{index:04d}': read_json(path) for index, path in files.items() if path.is_file()}
        if not results:
            continue
        seconds[kind] = read_json(args.out / kind / 'seconds.json')
        judged = [faults(result) for result in results.values()]
        counts = [sum(fault[name] for fault in judged) for name in judged[0]]
        early = sum(not result['checkpoints'] for result in results.values())
        ended = sum(result['status'] == 0 for result in results.values())
        equal = sum(result['resumed'] == 0 and not result['differs'] for result in results.values())
        rows.append([kind, len(results), f'{seconds[kind]:.1f} s', early, ended, equal, *counts])
    names = faults({'signal': 'SIGKILL', 'status': 0, 'torn': [], 'resumed': 0, 'traceback': False, 'said': []})
    header = ['kind', 'kills', 'CPU time of a run', 'before a checkpoint', 'after the end', 'equal', *names]
    return table(header, rows), {'seconds': seconds, 'kills': found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=positive_int, default=200, metavar='N', help='of each kind (default: 200)')
    parser.add_argument('--kinds', nargs='+', choices=list(CONFIGS), default=list(CONFIGS), metavar='KIND')
    parser.add_argument('--seed', type=whole_number, default=0)
    parser.add_argument('--jobs', type=positive_int, default=os.cpu_count() or 1,
                        help='runs at a time (default: all cores)')
    parser.add_argument('--summary', action='store_true', help='count the kills that are finished, and make none')
    parser.add_argument('--keep', action='store_true', help='keep work directories that had nothing wrong')
    parser.add_argument('--out', type=output_folder, default=Path('work_dirs/benchmark_kills'))
    add_json_option(parser)
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.summary:
        make_kills(args)
    text, result = summary(args)
    report(text, result, args.json)
    return 0


if __name__ == '__main__':
    run(main)
