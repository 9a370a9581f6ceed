"""docs/own_data.md as it is written: its folders, its configs and its commands, on small pictures and a DeiT-Tiny."""
import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from cait_mm.models import classifier_backbone
from cait_mm.spec import Spec

TINY = {'deit_small': 'deit_tiny', '384': '192', "(7, 'vertical')": "(8, 'vertical')"}
PAGE = re.sub('|'.join(map(re.escape, TINY)), lambda match: TINY[match.group()],
              (ROOT / 'docs' / 'own_data.md').read_text())
NO_WORKERS = ' '.join(f'{split}_dataloader.num_workers=0 {split}_dataloader.persistent_workers=False'
                      for split in ('train', 'val', 'test'))
PICTURES = (64, 96)
"""Height and width."""
UNSCALED = [f'{split}_dataloader.dataset.pipeline.1.scale=(96,64)' for split in ('val', 'test')]
"""The page's sizes would take minutes on CPUs."""


def section(title: str) -> str:
    return next(part for part in re.split(r'^## ', PAGE, flags=re.MULTILINE) if part.startswith(title))


def save_configs(page: str, folder: Path) -> None:
    for text in re.findall(r'```python\n(.*?)```', page, re.DOTALL):
        name = re.match(r'# (configs/\w+\.py)\n', text).group(1)
        (folder / name).write_text(text)


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for block in re.findall(r'```shell\n(.*?)```', page, re.DOTALL)
            for line in block.splitlines()]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Run a command of the page in a folder with the project's configs and random weights of DeiT-Tiny."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    (tmp_path / 'checkpoints').mkdir()
    backbone = classifier_backbone(Spec.dense('deit_tiny'))
    head = {'head.weight': torch.zeros(1000, 192), 'head.bias': torch.zeros(1000)}
    torch.save({'model': {**backbone.state_dict(), **head}}, tmp_path / WEIGHTS)
    monkeypatch.chdir(tmp_path)

    def run(words: list[str], *more: str) -> None:
        monkeypatch.setattr(sys, 'argv', [words[1], *words[2:], *more])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / words[1]), run_name='__main__')
        assert not stop.value.code, words

    return run


WEIGHTS = re.search(r'checkpoints/deit_tiny[\w-]+\.pth', PAGE).group()


def save_picture(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_images_and_masks(checkout, tmp_path, capsys):
    page, random = section('Images and masks'), np.random.default_rng(0)
    for split in ('train', 'val'):
        for index in range(4):
            save_picture(tmp_path / f'data/own/images/{split}/frame_{index}.jpg',
                         random.integers(0, 256, (*PICTURES, 3), np.uint8))
            save_picture(tmp_path / f'data/own/masks/{split}/frame_{index}.png',
                         random.integers(0, 3, PICTURES, np.uint8))
    save_configs(page, tmp_path)
    crops = 'train_dataloader.dataset.pipeline.3.crop_size=(64,64) model.data_preprocessor.size=(64,64)'
    small = [*NO_WORKERS.split(), *UNSCALED]
    short = f'train_cfg.max_iters=2 train_cfg.val_interval=2 default_hooks.checkpoint.interval=2 {crops}'
    for words in commands(page):
        words = ' '.join(words).replace('iter_20000', 'iter_2').replace('512 512', '64 64').split()
        more = {'tools/train.py': ['--cfg-options', 'train_dataloader.batch_size=2', *short.split(), *small],
                'tools/test.py': ['--cfg-options', *small],
                'tools/benchmark.py': ['--rounds', '1']}.get(words[1], [])
        checkout(words, *more)
    out = capsys.readouterr().out
    assert 'mIoU' in out and (tmp_path / 'own.onnx').is_file() and list((tmp_path / 'shown').rglob('*.png'))


def test_coco_file(checkout, tmp_path, capsys):
    page, random = section('A COCO file'), np.random.default_rng(0)
    for split in ('train', 'val'):
        images = [dict(id=index, file_name=f'{index}.jpg', height=PICTURES[0], width=PICTURES[1]) for index in range(4)]
        for image in images:
            save_picture(tmp_path / 'data/own_coco' / split / image['file_name'],
                         random.integers(0, 256, (*PICTURES, 3), np.uint8))
        square = dict(bbox=[10, 10, 40, 40], segmentation=[[10, 10, 50, 10, 50, 50, 10, 50]], area=1600, iscrowd=0)
        annotations = [dict(square, id=index, image_id=index, category_id=index % 2 + 1) for index in range(4)]
        categories = [dict(id=1, name='car'), dict(id=2, name='bus')]
        (tmp_path / 'data/own_coco' / f'{split}.json').write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    save_configs(page, tmp_path)
    tiny = ('model.neck.0.embed_dim=192 model.neck.1.in_channels=[192,192,192,192] model.backbone.arch=deit_tiny '
            'model.backbone.img_size=(64,96) model.train_cfg.rpn_proposal.max_per_img=20 '
            'model.train_cfg.rcnn.sampler.num=8 model.test_cfg.rpn.max_per_img=20')
    short = [*tiny.split(), *NO_WORKERS.split(), 'train_dataloader.dataset.pipeline.2.scale=(96,64)', *UNSCALED]
    for words in commands(page):
        words = ' '.join(words).replace('epoch_12', 'epoch_1').replace('800 1344', '64 96').split()
        more = {'tools/train.py': ['--cfg-options', *short, 'train_cfg.max_epochs=1'],
                'tools/test.py': ['--cfg-options', *short],
                'tools/benchmark.py': ['--rounds', '1', '--cfg-options', *tiny.split()]}.get(words[1], [])
        checkout(words, *more)
    assert 'bbox_mAP' in capsys.readouterr().out
