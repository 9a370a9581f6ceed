"""Give the command line tools thousands of malformed inputs, and sort their answers.

What has to hold: a tool either works (status 0) or says one sentence (status 2). No traceback, nothing of Python's own
words alone, no hang, no code from an input is run, and what is there before is there after. The libraries are loaded
once, every input is a fork. Finished inputs are kept under --out, and a second call does the others; --only repeats one
and prints what the tool said. Damaged bytes, values and weights are made as in the tests (tests/damage.py).
"""
import argparse
import hashlib
import os
import re
import resource
import runpy
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'benchmarks/robustness'), str(ROOT / 'tests')]
sys.modules.setdefault('_early', ModuleType('_early'))  # what it does is for a start of Python, which forks have not

import torch  # noqa: E402
from _malformed_inputs import COMMANDS, KINDS, RUNS, Maker  # noqa: E402
from kills import COMMON, CONFIGS, finish, start  # noqa: E402

from cait_mm.classification import Classifier  # noqa: E402
from cait_mm.config.cli import add_json_option, output_folder, positive_int, report, run, whole_number  # noqa: E402
from cait_mm.config.load import load_config  # noqa: E402
from cait_mm.datasets.scenes import make_scenes  # noqa: E402
from cait_mm.utils.files import kept, newest_checkpoint, write_json  # noqa: E402
from cait_mm.utils.tables import table  # noqa: E402

MEMORY, SHOWN = 16 * 2 ** 30, 20
ALONE = "train_dataloader['num_workers'] = 0\ntrain_dataloader['persistent_workers'] = False\n"
SHORT = {'segmentor': 'train_cfg = dict(max_iters=8, val_interval=4)\n',
         'detector': 'train_cfg = dict(max_epochs=2, val_interval=2)\n',
         'compression': 'train_cfg = dict(max_epochs=4, val_interval=2)\n'}
VOLUMES = "_base_ = '{root}/configs/cascade_decoder_deit_t_synapse.py'\n"
COLUMNS = ('status 0', 'sentences', 'tracebacks', 'Python\'s words', 'executed', 'destroyed', 'hangs')
PYTHONS = re.compile(
    r"\[Errno|object (is not|has no|does not|cannot be)|not supported between|unsupported operand|positional argument"
    r"|unexpected keyword|values to unpack|index out of|invalid literal|could not convert|must be str|Expecting \w+"
    r'|must be real number|unhashable|codec can.t|indices must be|cannot be interpreted|\w+(Error|Exception)\b')
def snapshot(folder: Path) -> dict[str, tuple]:
    """What a tool must leave: kinds of files, links, devices and contents; of targets of outputs, no contents."""
    found = {}
    for path in folder.rglob('*'):
        name, status = str(path.relative_to(folder)), path.lstat()
        if not name.startswith(('new', 'work', 'executed')):
            content = None
            if stat.S_ISREG(status.st_mode) and not name.startswith('targets'):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            link = os.readlink(path) if path.is_symlink() else None
            found[name] = (stat.S_IFMT(status.st_mode), status.st_rdev, link, content)
    return found


def wait(child: int, seconds: int) -> int | None:
    """A process's status; None where it did not end in time and was killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    finish(child)
    return None


def answer(tool: str, status: int | None, said: str) -> str:
    """Which of ``COLUMNS`` a tool's status and words are."""
    if status is None:
        return 'hangs'
    if 'Traceback (most recent call last)' in said or status not in (0, 2):
        return 'tracebacks'
    if status == 0:
        return 'status 0'
    sentences = re.findall(r'^(?:\w+\.py: )?error: (.*)', said, re.MULTILINE)
    if len(sentences) != 1:
        return 'sentences' if tool == 'check_data' and not sentences else 'tracebacks'
    words = PYTHONS.search(sentences[0])
    return 'Python\'s words' if words and len(sentences[0][:words.start()].split()) < 4 else 'sentences'


def attempt(index: int, args: argparse.Namespace) -> dict[str, Any]:
    """Make an input, run its tool, and look at what it answered and left."""
    kind, folder, log = KINDS[index % len(KINDS)], args.out / 'inputs' / f'{index:05d}', args.out / f'{index:05d}.log'
    shutil.rmtree(folder, ignore_errors=True)
    log.unlink(missing_ok=True)
    maker = Maker(args.out / 'base', folder, f'{args.seed} {index}')
    tool, words = getattr(maker, kind)()
    os.environ['CAMPAIGN_MARK'] = str(maker.mark)
    before, begin = [snapshot(place) for place in (folder, maker.base)], time.monotonic()
    os.chdir(folder / 'new')
    status = wait(start(log, tool, *words), args.hang)
    os.chdir(ROOT)
    after = [snapshot(place) for place in (folder, maker.base)]
    said = log.read_text(errors='replace') if log.is_file() else ''
    result = {'kind': kind, 'tool': tool, 'words': [ascii(str(word)) for word in words], 'status': status,
              'answer': answer(tool, status, said), 'executed': maker.mark.exists(), 'said': said[-1500:],
              'destroyed': [name for old, new in zip(before, after) for name in old if old[name] != new.get(name)],
              'seconds': time.monotonic() - begin}
    if args.only is None:
        shutil.rmtree(folder)
        log.unlink(missing_ok=True)
    return result


def prepare(args: argparse.Namespace) -> None:
    """Valid data, configs and checkpoints, a Ghostscript that leaves a mark, and the libraries for all forks."""
    base, programs = args.out / 'base', args.out / 'programs'
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    for folder in (base, programs):
        folder.mkdir(parents=True, exist_ok=True)
    (programs / 'gs').write_text('#!/bin/sh\ntouch "$CAMPAIGN_MARK"\n')
    (programs / 'gs').chmod(0o755)
    os.environ.update(PATH=f'{programs}:{os.environ["PATH"]}', CUDA_VISIBLE_DEVICES='', HF_HUB_OFFLINE='1')
    for tool in COMMANDS:
        runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='loaded')
    import mmdet.models  # noqa: F401
    import mmseg.models  # noqa: F401
    make_scenes(base / 'scenes', train=16, val=8, size=(64, 64))
    (base / 'volumes.py').write_text(VOLUMES.format(root=ROOT))
    for kind, (name, text) in CONFIGS.items():
        text = (COMMON + text).format(root=ROOT, base=name, data=base / 'scenes') + SHORT[kind] + ALONE
        (base / f'{kind}.py').write_text(text)
    for kind, name in RUNS.items():
        if not (base / name).is_file():
            done(start(base / 'log', 'train', base / f'{kind}.py', '--work-dir', base / kind), base / 'log')
            shutil.copy(newest_checkpoint(base / kind), base / name)
    if not (base / 'export.pth').is_file():
        done(start(base / 'log', 'fold', base / 'trained.pth', base / 'export.pth', '--force'), base / 'log')
    arch = load_config(str(base / 'compression.py')).model.backbone.arch.to_dict()
    torch.manual_seed(0)
    torch.save(Classifier(dict(type='CAITDeiT', arch=arch, merge=()), num_classes=8).state_dict(), base / 'dense.pth')
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def done(child: int, log: Path) -> None:
    if finish(child):
        raise RuntimeError(f'the valid input failed, see {log}')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--inputs', type=positive_int, default=4000, metavar='N', help='of all kinds (default: 4000)')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS, metavar='KIND', help=', '.join(KINDS))
    parser.add_argument('--seed', type=whole_number, default=0)
    parser.add_argument('--hang', type=positive_int, default=60, metavar='SECONDS',
                        help='an input that takes longer hangs; a machine with other work needs more (default: 60)')
    parser.add_argument('--summary', action='store_true', help='count the inputs that are finished, and run none')
    parser.add_argument('--only', type=whole_number, metavar='INPUT', help='repeat one and keep its files')
    parser.add_argument('--out', type=output_folder, default=Path('work_dirs/benchmark_malformed'))
    add_json_option(parser)
    args = parser.parse_args()
    args.out = args.out.resolve()
    if not args.summary:
        prepare(args)
    if args.only is not None:
        result = attempt(args.only, args)
        report('\n'.join(f'{key}: {value}' for key, value in result.items()), result, args.json)
        return 0
    files = {index: args.out / f'seed_{args.seed}' / f'{index:05d}.json' for index in range(args.inputs)
             if KINDS[index % len(KINDS)] in args.kinds}
    results = {index: kept(path, lambda: attempt(index, args)) for index, path in files.items()  # noqa: B023
               if path.is_file() or not args.summary}
    rows = [[kind, len(mine), *(sum(map(bool, (judge(result, column) for result in mine))) for column in COLUMNS)]
            for kind in args.kinds if (mine := [result for result in results.values() if result['kind'] == kind])]
    rows.append(['all', *(sum(row[place] for row in rows) for place in range(1, len(COLUMNS) + 2))])
    wrong = [index for index, result in results.items() if any(judge(result, column) for column in COLUMNS[2:])]
    lines = [f'--only {index} {results[index]["tool"]}: {last_line(results[index])}' for index in wrong[:SHOWN]]
    write_json(args.out / 'results.json', results)
    text = '\n'.join([table(['kind', 'inputs', *COLUMNS], rows), '', *lines])
    report(text, {'rows': rows, 'wrong': wrong}, args.json)
    return 0


def last_line(result: dict[str, Any]) -> str:
    return (result['said'].strip() or 'nothing').splitlines()[-1]


def judge(result: dict[str, Any], column: str) -> bool:
    return bool(result[column]) if column in ('executed', 'destroyed') else result['answer'] == column


if __name__ == '__main__':
    run(main)
