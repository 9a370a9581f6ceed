import runpy
import sys

import pytest
import torch
from conftest import ROOT
from PIL import Image

from cait_mm.classification import Classifier


@pytest.fixture
def script(monkeypatch, capfd):
    """Run ``benchmarks/NAME WORDS`` in this process; returns (status, stdout, stderr), those of its children too."""

    def run(name, *words):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, words)])
        monkeypatch.chdir(ROOT)
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / name), run_name='__main__')
        return (stop.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def images(tmp_path):
    """An ImageFolder of two classes, and random weights of DeiT-Tiny."""
    for split in ('train', 'val'):
        for name in ('cat', 'dog'):
            (tmp_path / 'images' / split / name).mkdir(parents=True)
            for index in range(2):
                image = Image.effect_noise((40, 40), 60).convert('RGB')
                image.save(tmp_path / 'images' / split / name / f'{index}.JPEG')
    (tmp_path / 'images/classes.txt').write_text('cat 281 cat\ndog 151 dog\n')
    model = Classifier(dict(type='CAITDeiT', arch='deit_tiny'))
    state = {name.removeprefix('backbone.'): value for name, value in model.state_dict().items()}
    torch.save({'model': state}, tmp_path / 'deit.pth')
    return tmp_path / 'images'
