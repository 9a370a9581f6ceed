"""tools/quickstart.py: the files it writes, and that one folder holds one run."""
import argparse
import json
import runpy

import pytest
from conftest import ROOT
from mmengine.config import Config

from cait_mm.config.screen import Step
from cait_mm.engine.recipe import set_epochs
from cait_mm.errors import UserError


@pytest.fixture
def quickstart() -> dict:
    return runpy.run_path(str(ROOT / 'tools' / 'quickstart.py'), run_name='quickstart')


@pytest.mark.parametrize('option,value', [('epochs', 6), ('seed', 1), ('iters', 10), ('train', 16)])
def test_another_setting_is_refused_in_one_sentence_before_anything_runs(tool, tmp_path, option, value):
    made_with = dict(train=480, val=80, seed=0, epochs=12, iters=1000)
    (tmp_path / 'settings.json').write_text(json.dumps(made_with))
    status, out, err = tool('quickstart.py', '--out', tmp_path, f'--{option}', value)
    assert status == 2 and not out
    assert err == (f'error: {tmp_path} holds a run with --{option} {made_with[option]}: choose another --out, or '
                   'remove that folder.\n')


def test_the_settings_of_a_new_folder_are_kept(quickstart, tmp_path):
    args = argparse.Namespace(out=tmp_path, train=16, val=8, seed=0, epochs=3, iters=10, verbose=False)
    quickstart['require_settings'](args)
    for _ in range(2):
        quickstart['scenes'](args, Step(''))
    quickstart['require_settings'](args)
    args.epochs = 4
    with pytest.raises(UserError, match='holds a run with --epochs 3:'):
        quickstart['require_settings'](args)
    assert json.loads((args.out / 'settings.json').read_text())['epochs'] == 3


@pytest.mark.parametrize('name,start', [('dense', None), ('CAIT', 'dense.pth')])
def test_the_written_config_is_the_shipped_one_with_epochs(quickstart, tmp_path, name, start):
    shipped, path = quickstart['CLASSIFIERS'][name], tmp_path / 'config.py'
    settings = quickstart['classifier_settings'](name, 5, seed=3)
    quickstart['write_config'](path, shipped, tmp_path / 'scenes', start, settings)
    written, wanted = Config.fromfile(path), Config.fromfile(ROOT / 'configs/small' / f'{shipped}.py')
    set_epochs(wanted, 5)
    for split in ('train', 'val', 'test'):
        wanted[f'{split}_dataloader'].dataset.data_root = str(tmp_path / 'scenes')
    wanted.randomness.seed = 3
    if start:
        wanted.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=start)
    assert written.to_dict() == wanted.to_dict()
    with pytest.raises(UserError, match='holds a run with other settings'):
        quickstart['write_config'](path, shipped, tmp_path / 'scenes', start,
                                   quickstart['classifier_settings'](name, 6, seed=3))


@pytest.mark.parametrize('content', ['not json', '[]', '{"train": 1}'])
def test_settings_of_something_else_are_a_sentence(quickstart, tmp_path, content):
    (tmp_path / 'settings.json').write_text(content)
    args = argparse.Namespace(out=tmp_path, train=16, val=8, seed=0, epochs=3, iters=10)
    with pytest.raises(UserError, match='settings.json (is no readable JSON|was not written by this command)'):
        quickstart['require_settings'](args)


def test_a_tool_that_fails_is_a_sentence_with_its_reason_and_the_log_is_named(tool, quickstart, tmp_path, monkeypatch):
    (tmp_path / 'scenes').write_text('a file in the place of a folder')
    status, out, err = tool('quickstart.py', '--out', tmp_path, '--train', 16, '--val', 8)
    log = tmp_path / 'quickstart.log'
    lines = err.splitlines()
    assert status == 2 and not out and len(lines) == 4
    assert lines[0].endswith(f'all output goes to {log}') and lines[1].startswith('[1/9] draw 16 and 8 scenes ... stop')
    assert lines[2] == f'the log: {log}'
    assert lines[3].startswith('error: tools/make_scenes.py failed with status 2 (') and 'is a file' in lines[3]
    assert log.read_text().startswith('$ python tools/make_scenes.py ')


def test_both_models_are_side_by_side(quickstart, tmp_path):
    def model(macs, seconds):
        parts = dict(macs=macs, seconds=seconds, speedup=2., ideal=3.)
        return dict(encoder=parts, overall=parts, params=2e6)

    args = argparse.Namespace(out=tmp_path)
    speed = dict(conditions=dict(CPU='a CPU', threads=2, torch='2.11', batch_size=8), models={
        str(tmp_path / 'upernet_deit_scenes.py'): model(4e9, 0.4),
        str(tmp_path / 'upernet_cait_deit_scenes.py'): model(2e9, 0.2)})
    results = {name: dict(metrics=dict(mIoU=value), train_seconds=125) for name, value in (('dense', 40), ('CAIT', 39))}
    lines = quickstart['summary'](results, dict(dense=80., CAIT=79.), speed, args).splitlines()
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[:-1]]
    assert cells[0] == ['UperNet on', 'dense', 'CAIT'] and ['encoder GMACs', '4.00', '2.00'] in cells
    assert ['mIoU, %', '40.0', '39.0'] in cells and ['a batch of 8 takes', '400 ms', '200 ms'] in cells
    assert max(map(len, lines[:-1])) < 80 and 'a CPU, 2 threads' in lines[-1]
