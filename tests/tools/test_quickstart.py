"""tools/quickstart.py: the files it writes, and that one folder holds one run."""
import argparse
import json
import runpy

import pytest
from conftest import ROOT
from mmengine.config import Config

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
    args = argparse.Namespace(out=tmp_path / 'new', train=16, val=8, seed=0, epochs=3, iters=10)
    quickstart['prepare'](args)
    quickstart['prepare'](args)
    args.epochs = 4
    with pytest.raises(UserError, match='holds a run with --epochs 3:'):
        quickstart['prepare'](args)
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
        quickstart['prepare'](args)
