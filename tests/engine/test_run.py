from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from cait_mm.engine import run
from cait_mm.engine.runner import CheckedRunner
from cait_mm.errors import UserError


def config(**kwargs):
    return Config({'optim_wrapper': dict(type='OptimWrapper'), 'train_dataloader': dict(batch_size=32),
                   'auto_scale_lr': dict(enable=False, base_batch_size=32), **kwargs})


def test_total_batch_is_divided_over_processes_and_accumulated_steps():
    cfg = config(optim_wrapper=dict(type='OptimWrapper', accumulative_counts=2))
    run.set_total_batch(cfg, 32, processes=4)
    assert cfg.train_dataloader.batch_size == 4
    with pytest.raises(UserError, match='--total-batch-size 30 does not divide into 4 processes x 2'):
        run.set_total_batch(cfg, 30, processes=4)


@pytest.mark.parametrize('processes,warned', [(1, False), (8, True)])
def test_another_total_batch_than_the_recipes_is_said(monkeypatch, processes, warned):
    said = []
    monkeypatch.setattr(run, 'print_log', lambda text, **_: said.append(text))
    run.set_total_batch(config(), None, processes)
    assert bool(said) == warned
    assert not warned or 'The total batch is 256' in said[0] and '--total-batch-size 32' in said[0]


def test_processes_are_counted_for_the_launcher_in_use(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '8')
    monkeypatch.setenv('SLURM_NTASKS', '16')
    assert [run.process_count(name) for name in ('none', 'pytorch', 'slurm', 'mpi')] == [1, 8, 16, 1]


def test_amp_on_a_cpu_is_a_sentence(monkeypatch):
    monkeypatch.setattr(run, 'get_device', lambda: 'cpu')
    with pytest.raises(UserError, match='--amp needs an accelerator'):
        run.use_amp(config())


@pytest.mark.parametrize('name', ['OptimWrapper', 'AmpOptimWrapper', 'GradRuleOptimWrapper', 'GradRuleAmpOptimWrapper'])
def test_amp_is_mmengines_whatever_name_the_config_has(monkeypatch, name):
    monkeypatch.setattr(run, 'get_device', lambda: 'cuda')
    cfg = config(optim_wrapper=dict(type=name))
    run.use_amp(cfg, 'bfloat16')
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic')
    with pytest.raises(UserError, match='--amp cannot change optim_wrapper type ApexOptimWrapper'):
        run.use_amp(config(optim_wrapper=dict(type='ApexOptimWrapper')))


def test_launchers_without_processes_or_accelerator_are_a_sentence(monkeypatch):
    monkeypatch.setattr(run, 'get_device', lambda: 'cpu')
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(UserError, match='torchrun'):
        run.start_processes(config(), 'pytorch')
    with pytest.raises(UserError, match='needs an accelerator'):
        run.start_processes(config(), 'slurm')


def test_drawing_without_a_hook_is_a_sentence():
    with pytest.raises(UserError, match='no visualization hook'):
        run.draw_predictions(config())


def test_weights_that_a_run_starts_from_are_looked_for_wherever_the_model_names_them(tmp_path):
    (tmp_path / 'here.pth').touch()
    start = dict(type='Pretrained', checkpoint=str(tmp_path / 'here.pth'))
    backbone = dict(type='CAITDeiT', init_cfg=start)
    run.require_weights(Config(dict(model=dict(backbone=backbone))))
    run.require_weights(Config(dict(model=dict(backbone=dict(init_cfg=dict(
        type='Pretrained', checkpoint='https://host/a.pth'))))))
    with pytest.raises(UserError, match='none.pth does not exist.*--cfg-options model.backbone.init_cfg.checkpoint'):
        run.require_weights(Config(dict(model=dict(backbone=dict(init_cfg=dict(start, checkpoint='none.pth'))))))
    taught = dict(backbone=backbone, distillation=dict(alpha=0.5, teacher='none.pth'))
    with pytest.raises(UserError, match='--cfg-options model.distillation.teacher=FILE'):
        run.require_weights(Config(dict(model=taught)))
    run.require_weights(Config(dict(model=dict(taught, distillation=dict(alpha=0, teacher='none.pth')))))


def test_a_config_is_written_whole_or_not_at_all(tmp_path):
    class Killed:
        filename = 'elsewhere/config.py'

        def dump(self, path):
            Path(path).write_text('half')
            raise KeyboardInterrupt

    (tmp_path / 'config.py').write_text('whole')
    with pytest.raises(KeyboardInterrupt):
        CheckedRunner._write_config(SimpleNamespace(cfg=Killed(), work_dir=tmp_path))
    assert [path.read_text() for path in tmp_path.iterdir()] == ['whole']
