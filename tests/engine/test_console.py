"""A run prints MMEngine's log without its longest entries, and loses none of them."""
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_runs import KINDS, make_data

from cait_mm.config.load import load_config
from cait_mm.engine.run import build_runner

LONG = ('System environment:', 'default_scope =', 'Hooks will be executed')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp('console'))


@pytest.mark.parametrize('level', ['INFO', 'ERROR'])
def test_long_entries_are_in_the_log_file_alone(data, tmp_path, capsys, level):
    path = tmp_path / 'config.py'
    path.write_text(KINDS['classifier'].replace('DATA', str(data)))
    config = load_config(str(path), {'default_hooks.checkpoint.interval': 9})
    config.work_dir, config.log_level = str(tmp_path / 'work'), level
    config.train_cfg.max_epochs = 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Config, 'pretty_text', 'default_scope = 1')  # to format it takes longer than this run
        runner = build_runner(config)
    runner.train()
    printed = capsys.readouterr().out
    (log, ) = Path(config.work_dir).rglob('*.log')
    kept = log.read_text()
    assert not any(part in printed for part in LONG)
    if level == 'INFO':
        assert all(part in kept for part in LONG) and f'are in {log}.' in printed
        assert 'Epoch(train)' in printed and 'Epoch(val)' in printed and 'top1' in printed
    else:
        assert not kept and not printed
