"""Shared fixtures: the repository, and real data where it is at hand."""
import logging
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import EpsImagePlugin, Image

from cait_mm import models
from cait_mm.models import Backbone, Classifier

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {path.stem: path for folder in ('configs', 'configs/small') for path in sorted((ROOT / folder).glob('*.py'))}
"""Every config by its name."""
DATA = Path(os.environ.get('CAIT_TEST_DATA', ROOT.parent / 'shared' / 'data'))
os.environ.setdefault('HF_HUB_OFFLINE', '1')
sys.modules['_early'] = ModuleType('_early')  # tools import it first; signals are pytest's here

_PLAIN = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))
_STAGES = dict(embed_dim=16, depths=(1, 2, 3, 1), num_heads=(1, 2, 2, 4), window_size=4, img_size=(64, 64))
FAMILIES = {
    'deit': dict(type='CAITDeiT', arch=_PLAIN, merge=((1, 'horizontal'), (2, 'vertical'))),
    'lvvit': dict(type='CAITLVViT', arch=dict(_PLAIN, embed_dim=48, stem_dim=2),
                  merge=((1, 'horizontal'), (2, 'vertical'))),
    'swin': dict(type='CAITSwin', arch=_STAGES, merge=(('2.1', 'horizontal'), ('2.2', 'vertical'))),
}
"""A small merged backbone of every family, for images of 64x64."""


def plain_backbone(family: str, **kwargs) -> Backbone:
    """The plain model of :data:`FAMILIES`, with other arguments where they are given."""
    described = {name: value for name, value in FAMILIES[family].items() if name != 'type'}
    return models.FAMILIES[family](**{**described, **kwargs})


def plain_classifier(family: str, num_classes: int = 5, **kwargs) -> Classifier:
    """A plain classifier around it."""
    return Classifier(plain_backbone(family, out_indices=-1, final_norm=True, **kwargs), num_classes)


class ModelOwner:
    """The attributes of a Runner that Runner.build_optim_wrapper reads."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    logging.getLogger('mmengine').setLevel(logging.ERROR)


@pytest.fixture
def repo() -> Path:
    return ROOT


def real_data(name: str) -> Path:
    """The path of a real sample, or a skip with the reason."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f'real data {name} is not at hand (set CAIT_TEST_DATA to its folder)')
    return path


@pytest.fixture
def deit_tiny() -> Path:
    return real_data('deit_tiny_patch16_224/deit_tiny_patch16_224_fp32.pth')


@pytest.fixture
def tool(repo, monkeypatch, capsys):
    """Run ``tools/NAME WORDS`` in this process, from the repository; returns (status, stdout, stderr)."""

    def run(name: str, *words) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [name, *map(str, words)])
        monkeypatch.chdir(repo)
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(repo / 'tools' / name), run_name='__main__')
        return (stop.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A ``gs`` that leaves a file behind, and a Pillow that has neither looked for it nor been told to refuse."""
    marker, programs = tmp_path / 'ran', tmp_path / 'bin'
    programs.mkdir()
    (programs / 'gs').write_text(f'#!/bin/sh\ntouch {marker}\n')
    (programs / 'gs').chmod(0o755)
    monkeypatch.setenv('PATH', str(programs), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, 'gs_binary', None, raising=False)
    Image.init()
    monkeypatch.setitem(Image.OPEN, 'EPS', (EpsImagePlugin.EpsImageFile, EpsImagePlugin._accept))
    return marker
