"""Files and configs from before the redesign stay valid: see tests/data/legacy/make.py."""
import lzma
import math
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.registry import MODELS

import cait_mm
from cait_mm.config.load import load_config
from cait_mm.datasets.scenes import make_scenes
from cait_mm.engine.loader import load_file
from cait_mm.engine.start import use_compressed
from cait_mm.pruning.training_checkpoint import fold_training
from cait_mm.spec import Spec

pytest.importorskip('mmseg')
LEGACY = ROOT / 'tests' / 'data' / 'legacy'


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> Path:
    """The folder of the unpacked checkpoints."""
    folder = tmp_path_factory.mktemp('legacy')
    for packed in LEGACY.glob('*.pth.xz'):
        (folder / packed.stem).write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


@pytest.fixture(scope='module')
def expected(files) -> dict:
    return load_file(files / 'expected.pth')


@torch.no_grad()
def assert_same(model: torch.nn.Module, expected: dict, name: str, **mode) -> None:
    output = model.eval()(expected['picture'], **mode)
    torch.testing.assert_close(output, expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize('name', ['compress', 'segmentor'])
def test_a_training_checkpoint_gives_the_same_logits(files, expected, name):
    model = MODELS.build(load_config(str(LEGACY / f'{name}.py')).model)
    model.load_state_dict(load_file(files / f'{name}.pth')['state_dict'])
    assert_same(model, expected, name, mode='tensor')


def test_an_export_gives_the_same_logits_in_a_config(files, expected):
    config = load_config(str(LEGACY / 'compress.py'))
    use_compressed(config, str(files / 'export.pth'))
    model = MODELS.build(config.model)
    model.init_weights()
    assert_same(model, expected, 'export', mode='tensor')


def test_an_export_gives_the_same_logits_in_plain_pytorch(files, expected):
    assert_same(cait_mm.load(str(files / 'export.pth')), expected, 'export')


def test_a_run_is_folded_as_before(files, expected):
    small = fold_training(str(files / 'compress.pth'), None, 0)
    assert small.backbone.spec == Spec.from_dict(expected['cut_spec'])
    assert_same(small, expected, 'cut')


def test_a_compression_run_continues(files, tool, tmp_path):
    make_scenes(tmp_path / 'scenes', train=24, val=8, size=(64, 64))
    status, out, err = tool('train.py', LEGACY / 'compress.py', '--data-root', tmp_path / 'scenes' / 'classification',
                            '--work-dir', tmp_path / 'run', '--resume', files / 'compress.pth')
    assert status == 0, err
    before, after = (load_file(path) for path in (files / 'compress.pth', tmp_path / 'run' / 'epoch_6.pth'))
    assert any(name.endswith('.mask') for name in before['state_dict'])
    assert (before['meta']['epoch'], after['meta']['epoch']) == (3, 6)
    steps = [state['optimizer']['state'][0]['step'] for state in (before, after)]
    assert steps[1] == 2 * steps[0]  # the optimizer's state was taken over
    assert all(math.isfinite(value.sum()) for value in after['state_dict'].values())
    status, out, err = tool('fold.py', tmp_path / 'run', tmp_path / 'small.pth')
    assert status == 0, err


def test_names_and_paths_of_old_configs_lead_to_todays():
    config = load_config(str(LEGACY / 'medical.py'))
    assert type(MODELS.build(config.model.decode_head)).__module__ == 'cait_mm.heads.cascade'
    new = load_config(str(ROOT / 'configs' / 'small' / 'upernet_atme_deit_scenes.py'))
    assert load_config(str(ROOT / 'configs' / 'upernet_atme_deit_scenes.py')).to_dict() == new.to_dict()
