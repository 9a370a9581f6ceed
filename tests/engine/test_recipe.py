import pytest
from mmengine.config import Config

from cait_mm.engine import recipe
from cait_mm.errors import UserError


def config(**kwargs):
    return Config({'optim_wrapper': dict(type='OptimWrapper'), 'train_dataloader': dict(batch_size=32),
                   'auto_scale_lr': dict(enable=False, base_batch_size=32), **kwargs})


def test_total_batch_is_divided_over_processes_and_accumulated_steps():
    cfg = config(optim_wrapper=dict(type='OptimWrapper', accumulative_counts=2))
    recipe.set_total_batch(cfg, 32, processes=4)
    assert cfg.train_dataloader.batch_size == 4
    with pytest.raises(UserError, match='--total-batch-size 30 does not divide into 4 processes x 2'):
        recipe.set_total_batch(cfg, 30, processes=4)


@pytest.mark.parametrize('processes,warned', [(1, False), (8, True)])
def test_another_total_batch_than_the_recipes_is_said(monkeypatch, processes, warned):
    said = []
    monkeypatch.setattr(recipe, 'print_log', lambda text, **_: said.append(text))
    recipe.set_total_batch(config(), None, processes)
    assert bool(said) == warned
    assert not warned or 'The total batch is 256' in said[0] and '--total-batch-size 32' in said[0]


def test_amp_on_a_cpu_is_a_sentence(monkeypatch):
    monkeypatch.setattr(recipe, 'get_device', lambda: 'cpu')
    with pytest.raises(UserError, match='--amp needs an accelerator'):
        recipe.use_amp(config())


@pytest.mark.parametrize('name', ['OptimWrapper', 'AmpOptimWrapper', 'GradRuleOptimWrapper', 'GradRuleAmpOptimWrapper'])
def test_amp_is_mmengines_under_every_name(monkeypatch, name):
    monkeypatch.setattr(recipe, 'get_device', lambda: 'cuda')
    cfg = config(optim_wrapper=dict(type=name))
    recipe.use_amp(cfg, 'bfloat16')
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic')
    with pytest.raises(UserError, match='--amp cannot change optim_wrapper type ApexOptimWrapper'):
        recipe.use_amp(config(optim_wrapper=dict(type='ApexOptimWrapper')))
