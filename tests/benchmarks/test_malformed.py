"""The campaigns sort what they see."""
import argparse
import runpy
import shutil
import sys

import pytest
import torch
from conftest import ROOT

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


@pytest.fixture(scope='module')
def malformed():
    path = list(sys.path)
    yield runpy.run_path(str(ROOT / 'benchmarks/robustness/malformed.py'))
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
