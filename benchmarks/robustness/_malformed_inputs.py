"""Malformed inputs of every kind, each with the command that reads it; malformed.py runs them.

Bytes, values and weights are damaged as in the tests (tests/damage.py), which have to be on the path.
"""
import json
import os
import pickle
import random
import shutil
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from damage import (
    ARRAYS,
    IMAGE,
    LABEL,
    NASTY,
    PICTURES,
    STORED,
    damaged,
    good_coco,
    label_map,
    nasty,
    places,
    spoil,
    spoilt,
    spoilt_weights,
    written,
)
from kills import CONFIGS

from cait_mm.config.load import load_config
from cait_mm.engine.loader import load_file

RUNS = {'segmentor': 'run.pth', 'detector': 'detected.pth', 'compression': 'trained.pth'}
COMMANDS = {
    'train': '{segmentor} --work-dir {out} --check-only --json {file}', 'check_data': '{segmentor} --json {file}',
    'test': '{segmentor} {run} --work-dir {out} --show-dir {out} --json {file}',
    'compress': '{compression} {dense} {file} --target 0.4 --images {pictures} --num-images 4 --json {file}',
    'fold': '{trained} {file} --pad-to 0 --tolerance 1 --json {file}',
    'plan': '--arch deit_tiny --target 0.4 --shape 64 64',
    'get_flops': '{segmentor} --shape 64 64 --json {file}', 'report': '{work} --out {out} --json {file}',
    'export': '{segmentor} {run} --shape 64 64 --part backbone --format torchscript --out {file} --json {file}',
    'browse_dataset': '{segmentor} --split val --number 2 --out {out} --json {file}',
    'make_scenes': '{out} --train 8 --val 8 --size 32 32 --json {file}',
    'benchmark': '{segmentor} --against {segmentor} --shape 64 64 --rounds 1 --device cpu --json {file}',
    'quickstart': '--out {out} --train 2',
}
Case = tuple[str, list[Any]]


class Payload:
    """Unpickled, it makes the file that shows that it was."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f'touch {self.mark}',)


def volume(file: Any) -> None:
    with h5py.File(file, 'w') as target:
        for name, values in (('image', IMAGE), ('label', LABEL)):
            target.create_dataset(name, data=np.stack([values] * 3))


class Maker:
    """One input: a folder of files, and the command that reads them; each kind is a method."""

    def __init__(self, base: Path, folder: Path, seed: str) -> None:
        self.base, self.folder, self.mark = base, folder, folder / 'executed'
        self.chance, self.numbers = random.Random(seed), np.random.default_rng(list(seed.encode()))
        for name in ('new', 'targets/folder'):
            (folder / name).mkdir(parents=True)

    def config(self, kind: str) -> Path:
        return self.base / f'{kind}.py'

    def scenes(self) -> Path:
        return Path(shutil.copytree(self.base / 'scenes', self.folder / 'scenes'))

    def odd_file(self, path: Path, content: bytes) -> None:
        """What is of no kind that ``path`` may be: torn, empty, text, a folder, a pipe, a link, code, a huge claim."""
        way = self.chance.randrange(10)
        if way < 4:
            path.write_bytes(damaged(content, self.numbers))
        elif way == 4:
            path.write_bytes(self.chance.choice((b'', b'x', b'<html></html>', b'\0' * 1000, b'PK\x03\x04')))
        elif way == 5:
            path.mkdir()
        elif way == 6:
            os.mkfifo(path)
        elif way == 7:
            path.symlink_to(self.chance.choice((path, Path('nowhere'), self.folder)))
        elif way == 8:
            code = (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n',
                    pickle.dumps(Payload(self.mark)), self.zipped())
            path.write_bytes(self.chance.choice(code))
        else:
            head = b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
            path.write_bytes(b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + head + struct.pack('>I', zlib.crc32(head)))

    def zipped(self) -> bytes:
        return written(lambda file: torch.save({'state_dict': Payload(self.mark)}, file))

    def checkpoint(self, source: str) -> str:
        """A spoilt copy of a checkpoint, or an address where there is none."""
        path, way = self.folder / 'checkpoint.pth', self.chance.randrange(8)
        content = load_file(self.base / source)
        if way == 0:
            return self.chance.choice(('http://127.0.0.1:9/a.pth', 'torchvision://x', 'local://x', 's3://a/b', ''))
        if way < 3:
            self.odd_file(path, (self.base / source).read_bytes())
        elif way < 5 and 'state_dict' in content:
            torch.save({**content, 'state_dict': spoilt_weights(content['state_dict'], self.chance)}, path)
        else:
            torch.save(spoilt(content, self.chance, STORED), path)
        return str(path)

    def weights(self) -> Case:
        kind = self.chance.choice(('segmentor', 'segmentor', 'detector'))
        path = self.checkpoint(self.chance.choice((RUNS[kind], 'dense.pth')))
        return self.chance.choice((
            ('train', [self.config(kind), '--check-only', '--cfg-options', f'load_from={path}']),
            ('train', [self.started_from(kind, path), '--check-only']), ('test', [self.config(kind), path])))

    def started_from(self, kind: str, path: str) -> Path:
        """A config whose backbone starts from ``path``."""
        config = self.folder / 'started.py'
        start = f"dict(_delete_=True, type='Pretrained', checkpoint={path!r})"
        config.write_text(f"_base_ = {str(self.config(kind))!r}\nmodel = dict(backbone=dict(init_cfg={start}))\n")
        return config

    def exports(self) -> Case:
        source = self.chance.choice(('trained.pth', 'export.pth'))
        path = self.checkpoint(source)
        fold = ('fold', [path, 'out.pth'])
        target = ['--target', '0.4', '--images', self.base / 'scenes/images/training', '--num-images', 4]
        if source == 'trained.pth':
            return fold
        return self.chance.choice((
            fold, ('get_flops', [self.started_from('segmentor', path), '--shape', 64, 64]),
            ('train', [self.started_from('segmentor', path), '--check-only']),
            ('test', [self.config('compression'), path]),
            ('compress', [self.config('compression'), path, 'out.pth', *target])))

    def configs(self) -> Case:
        kind, way = self.chance.choice(list(CONFIGS)), self.chance.randrange(6)
        content, path = load_config(str(self.config(kind))).to_dict(), self.folder / 'config.py'
        words: list[Any] = []
        if way < 3:
            values = [value for value in (*NASTY, *STORED) if value != 'deep' and not isinstance(value, torch.Tensor)]
            content = spoilt(content, self.chance, values)
            text = '\n'.join(f'{key} = {value!r}' for key, value in content.items() if str(key).isidentifier())
            path.write_text(f'from math import inf, nan\n{text}\n'.replace('\0', '\\0'))
        elif way == 3:
            path = path.with_suffix(self.chance.choice(('.json', '.yaml', '.yml')))
            path.write_text(json.dumps(spoilt(content, self.chance, NASTY), default=str))
            if self.chance.random() < 0.3:
                path.write_text(f'model: !!python/object/apply:os.system ["touch {self.mark}"]\n')
        elif way == 4:
            self.odd_file(path, self.config(kind).read_bytes())
        else:
            place = self.chance.choice([place for place in places(content) if place])
            key, value = '.'.join(map(str, place)), str(nasty(self.chance))[:1000].replace('\0', '')
            path, words = self.config(kind), ['--cfg-options', f'{key}={value}']
        tool = self.chance.choice(('train', 'train', 'check_data', 'get_flops', 'browse_dataset', 'benchmark'))
        more = {'train': ['--check-only'], 'get_flops': ['--shape', 64, 64],
                'benchmark': ['--against', path, '--shape', 64, 64, '--rounds', 1, '--device', 'cpu']}
        return tool, [path, *more.get(tool, ()), *words]

    def readers(self, kind: str, root: Path) -> Case:
        """A tool that reads the data of ``root``."""
        tool = self.chance.choice(('check_data', 'train', 'train', 'browse_dataset', 'test'))
        words = [self.config(kind), *([self.base / RUNS[kind]] if tool == 'test' else []), '--data-root', root]
        return tool, words + ['--check-only'] * (tool == 'train' and self.chance.random() < 0.5)

    def pictures(self) -> Case:
        root, kind = self.scenes(), self.chance.choice(('segmentor', 'segmentor', 'detector', 'compression'))
        where = 'classification' if kind == 'compression' else self.chance.choice(('images', 'annotations'))
        files = sorted(path for path in (root / where).rglob('*.*') if path.is_file())
        for path in self.chance.sample(files, self.chance.choice((1, 2, len(files)))):
            content = self.chance.choice((path.read_bytes(), written(PICTURES[self.chance.choice(list(PICTURES))])))
            path.unlink()
            if where == 'annotations' and self.chance.random() < 0.6:
                label_map(self.chance, path)
            elif self.chance.random() < 0.3:
                path.write_bytes(content)
            else:
                self.odd_file(path, content)
        if where == 'images' and self.chance.random() < 0.3:
            folder = self.chance.choice((root / 'images/training', root / 'images', self.folder / 'targets'))
            return 'compress', [self.config('compression'), self.base / 'dense.pth', 'out.pth', '--target', 0.4,
                                '--images', folder, '--num-images', 4]
        return self.readers(kind, root / 'classification' if kind == 'compression' else root)

    def lists(self) -> Case:
        root = self.scenes() / 'classification'
        lines = [f'{path.relative_to(root / "train")} {self.chance.randrange(8)}'
                 for path in sorted((root / 'train').rglob('*.*'))]
        odd = ('x', '', '5', 'a.png -1', 'a.png 1000000000', 'a.png 1.5', 'a.png ²', '../../x 1', '/ 0', 'a' * 9000,
               '\0 1')
        for _ in range(self.chance.choice((0, 1, 1, 3))):
            lines.insert(self.chance.randrange(len(lines)), self.chance.choice(odd))
        text = '\n'.join(lines).encode(self.chance.choice(('utf-8', 'utf-8-sig', 'utf-16')))
        if self.chance.random() < 0.5:
            self.odd_file(root / 'list.txt', text)
        else:
            (root / 'list.txt').write_bytes(text)
        tool, words = self.readers('compression', root)
        return tool, [*words, '--cfg-options', 'train_dataloader.dataset.ann_file=list.txt']

    def arrays(self) -> Case:
        root = self.folder / 'synapse'
        places_of = (('train_npz', '.npz', ('a.npz', 'b.npz')), ('test_vol_h5', '.npy.h5', ('a.h5', 'b.h5')))
        for place, suffix, makers in places_of:
            (root / place).mkdir(parents=True)
            for index in range(3):
                path = root / place / f'case000{index}{"_slice000" * (suffix == ".npz")}{suffix}'
                content = written(ARRAYS[self.chance.choice(makers)])
                if suffix != '.npz' and self.chance.random() < 0.7:
                    content = written(volume)
                way = self.chance.randrange(4)
                if way == 0:
                    self.odd_file(path, content)
                elif way == 1 and suffix == '.npz':
                    kinds = (np.array([Payload(self.mark)], object), np.ones(3), np.full((8, 8), np.nan), np.array('x'),
                             np.ones((2, 2, 2, 2)), np.ones((0, 4)), np.ones((4, 4), complex))
                    np.savez(path, image=self.chance.choice(kinds), label=self.chance.choice(kinds))
                else:
                    path.write_bytes(content)
        tool = self.chance.choice(('check_data', 'browse_dataset'))
        return tool, [self.config('volumes'), '--data-root', root]

    def coco(self) -> Case:
        root = self.scenes()
        for split in self.chance.sample(('training', 'validation'), self.chance.choice((1, 2))):
            path = root / f'instances_{split}.json'
            content = good_coco() if self.chance.random() < 0.1 else json.loads(path.read_text())
            for _ in range(self.chance.choice((1, 1, 2, 5))):
                spoil(content, self.chance)
            path.write_text(json.dumps(content))
            if self.chance.random() < 0.15:
                text = path.read_bytes()
                path.unlink()
                self.odd_file(path, text)
        return self.readers('detector', root)

    def resumes(self) -> Case:
        kind, source, name = self.chance.choice((('segmentor', 'run.pth', 'iter_4.pth'),
                                                 ('compression', 'trained.pth', 'epoch_2.pth')))
        work = self.folder / 'work'
        work.mkdir()
        path = self.checkpoint(source)
        note = self.chance.choice((work / name, path, name, 'http://127.0.0.1:9/a.pth', '', 'x' * 5000, '\0', work))
        if self.chance.random() < 0.6 and Path(path).exists() and path:
            os.rename(path, work / name)
            path = str(work / name)
        (work / 'last_checkpoint').write_text(str(note))
        named = [path] if self.chance.random() < 0.4 else []
        return 'train', [self.config(kind), '--work-dir', work, '--resume', *named] + ['--check-only'] * (
            self.chance.random() < 0.3)

    def commands(self) -> Case:
        tool, targets = self.chance.choice(list(COMMANDS)), self.folder / 'targets'
        (targets / 'file').write_text('kept')
        (targets / 'link').symlink_to('file')
        (targets / 'dangling').symlink_to('nowhere')
        outputs = ['file', 'link', 'dangling', 'folder', 'file/below', 'folder/', 'a' * 300, 'new/deep/file']
        if os.geteuid() == 0:
            try:
                os.mknod(targets / 'device', stat.S_IFCHR | 0o666, os.makedev(1, 3))
                outputs.append('device')
            except OSError:
                pass  # no right to make devices here
        names = {kind: self.config(kind) for kind in CONFIGS}
        names.update({name: self.base / f'{name}.pth' for name in ('run', 'dense', 'trained', 'export')},
                     pictures=self.base / 'scenes/images/training', work=self.base / 'segmentor')
        file, out = (targets / self.chance.choice(outputs) for _ in range(2))
        words = [word.format(file=file, out=out, **names) for word in COMMANDS[tool].split()]
        for _ in range(self.chance.choice((0, 1, 1, 2))):
            place, way = self.chance.randrange(len(words)), self.chance.randrange(4)
            odd = self.chance.choice(('', '-1', '0', 'nan', '1e400', '9' * 30, '²', 'x' * 5000, '--no-such', '\udcff',
                                      '-', '/proc/nowhere', str(targets / 'folder'), '5:diagonal'))
            words[place:place + (way > 0)] = [odd] if way < 3 else []
            words = words or ['']
        return tool, words + ['--iters', '0'] * (tool == 'quickstart')  # never to its end


KINDS = ('weights', 'exports', 'configs', 'pictures', 'lists', 'arrays', 'coco', 'resumes', 'commands')
