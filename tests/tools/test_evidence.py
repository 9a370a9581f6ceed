"""The evidence scripts compare what they say they compare."""
import argparse
import runpy
import shutil
import sys

import pytest
import torch
from conftest import ROOT

from cait_mm.analysis.modes import Mode
from cait_mm.macs import reduction
from cait_mm.models.checkpoint import read_checkpoint

SPEED = runpy.run_path(str(ROOT / 'tools/evidence/speed.py'))
MEANS = runpy.run_path(str(ROOT / 'tools/evidence/means.py'))

ANSWERS = [
    ('train', 0, 'ready', 'status 0'), ('fold', 2, 'error: a.pth is torn.', 'sentences'),
    ('fold', 2, 'fold.py: error: argument --pad-to', 'sentences'),
    ('check_data', 2, 'train: missing a.png', 'sentences'),
    ('fold', 2, '', 'tracebacks'), ('fold', 2, 'error: one.\nerror: two.', 'tracebacks'), ('fold', 1, '', 'tracebacks'),
    ('fold', -11, '', 'tracebacks'), ('fold', 0, 'Traceback (most recent call last):', 'tracebacks'),
    ('fold', 2, "error: 'NoneType' object is not iterable", "Python's words"),
    ('fold', 2, "error: the checkpoint a.pth cannot be read: 'NoneType' object is not iterable", 'sentences'),
    ('fold', None, '', 'hangs'),
]


@pytest.mark.parametrize('name', SPEED['CASES'])
def test_cases_name_configs_that_are_there_the_dense_one_first(name):
    case = SPEED['CASES'][name]
    names = [case.configs.format(kind) for kind in case.kinds] + list(case.others)
    assert case.kinds[0] == '' and all((ROOT / 'configs' / f'{name}.py').is_file() for name in names), names


def test_the_stand_in_is_an_export_at_the_papers_target(tmp_path):
    path = SPEED['stand_in']('deit_t', tmp_path)
    spec = read_checkpoint(str(path)).spec
    assert reduction(spec) == pytest.approx(0.505, abs=1e-3)
    assert all(block.qk_dim % 8 == block.v_dim % 8 == block.ffn_dim % 8 == 0 for block in spec.blocks)


@pytest.mark.parametrize('name', ['vertical_merge_without_a_copy', 'cls_apart', 'restoring_by_repeating',
                                  'lazy_restoring', 'pyramid_in_channels_last'])
def test_a_means_changes_nothing_but_the_time(name):
    with torch.no_grad():
        without, using = (call() for call in getattr(MEANS['Bench'](Mode(), 1), name)())
    for mine, theirs in zip(*([item] if torch.is_tensor(item) else item for item in (without, using))):
        if torch.is_tensor(mine):
            torch.testing.assert_close(theirs.reshape(mine.shape), mine, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope='module')
def malformed():
    path = list(sys.path)
    yield runpy.run_path(str(ROOT / 'tools/evidence/malformed.py'))
    sys.path[:] = path


@pytest.mark.parametrize('tool,status,said,wanted', ANSWERS)
def test_answers_are_sorted(malformed, tool, status, said, wanted):
    assert malformed['answer'](tool, status, said) == wanted


def test_the_campaign_sees_code_that_runs_and_files_that_change(malformed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'base').mkdir()
    args = argparse.Namespace(out=tmp_path, seed=0, only=None, hang=60)
    number = malformed['KINDS'].index('commands')
    result = malformed['attempt'](number, args)
    assert result['kind'] == 'commands' and not result['executed'] and not result['destroyed']
    assert result['answer'] in malformed['COLUMNS'] and not any((tmp_path / 'inputs').iterdir())

    def harm(log, tool, *words):
        torch.load(log.parent / 'code.pth', weights_only=False)
        (tmp_path / 'inputs' / f'{number:05d}' / 'targets/link').unlink()
        return real(log, 'plan', '--no-such')

    attempt, maker = malformed['attempt'], malformed['Maker'](tmp_path / 'base', tmp_path / 'other', '0')
    maker.mark = tmp_path / 'inputs' / f'{number:05d}' / 'executed'
    (tmp_path / 'code.pth').write_bytes(maker.zipped())
    real = attempt.__globals__['start']
    monkeypatch.setitem(attempt.__globals__, 'start', harm)
    result = attempt(number, args)
    assert result['executed'] and result['destroyed'] == ['targets/link'] and result['status'] == 2


def test_an_input_is_made_the_same_again(malformed, tmp_path):
    (tmp_path / 'base').mkdir()
    for kind in ('arrays', 'commands'):
        cases = []
        for _ in range(2):
            maker = malformed['Maker'](tmp_path / 'base', tmp_path / 'input', '0 5')
            cases.append((getattr(maker, kind)(), malformed['snapshot'](tmp_path / 'input')))
            shutil.rmtree(tmp_path / 'input')
        assert cases[0][0] == cases[1][0] and cases[0][1].keys() == cases[1][1].keys()
