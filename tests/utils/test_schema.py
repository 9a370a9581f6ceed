"""Values of another kind, out of range or NaN are named before anything is built."""
import math

import pytest

from cait_mm.config.load import load_config
from cait_mm.errors import UserError
from cait_mm.utils.schema import check_shape

NAN, INF = math.nan, math.inf
WRONG = {
    'model': ['x', 3, [1]], 'train_dataloader': [3, 'x'], 'val_dataloader.dataset': ['x', 3, [1]],
    'optim_wrapper': [[dict(type='OptimWrapper')], 'x'], 'custom_hooks': ['a', dict(type='FiniteHook'), [3], ['x']],
    'default_hooks': ['a', []], 'default_hooks.logger': ['a'], 'param_scheduler': ['a', [1]],
    'val_evaluator': ['a', [1]], 'load_from': [3, ['a']], 'default_scope': [3], 'work_dir': [3], 'resume': ['auto', 1],
    'model.cdcp': ['x', 0.5], 'model.distillation': [0.5], 'optim_wrapper.optimizer': ['AdamW'],
    'optim_wrapper.paramwise_cfg': [3], 'train_dataloader.dataset.pipeline': ['x', [3]],
    'train_dataloader.dataset.data_root': [3], 'train_dataloader.dataset.data_prefix': [3],
    'train_dataloader.dataset.metainfo': [['a']], 'train_cfg.max_epochs': [0, -1, 1.5, NAN, INF, 'x', True],
    'train_cfg.max_iters': [0, -3, NAN], 'train_cfg.val_interval': [0, -1, NAN, 0.5],
    'train_dataloader.batch_size': [0, -1, 2., 1.5, NAN, 'x', True], 'train_dataloader.num_workers': [-1, 0.5],
    'train_dataloader.drop_last': ['yes', 1], 'optim_wrapper.optimizer.lr': [-1, NAN, INF, 'abc'],
    'optim_wrapper.optimizer.weight_decay': [-0.1, NAN],
    'optim_wrapper.optimizer.betas': [(1, 0.9), (0.9, NAN), 0.9, (-1, 0)],
    'optim_wrapper.accumulative_counts': [0, -1, 1.5], 'optim_wrapper.clip_grad.max_norm': [-1, 0, NAN],
    'optim_wrapper.paramwise_cfg.custom_keys.pos_embed.decay_mult': [-1, NAN, 'x'],
    'optim_wrapper.paramwise_cfg.compactor_lr_mult': [-1, INF], 'param_scheduler.0.end': [-1, 1.5, NAN],
    'param_scheduler.0.gamma': [-1, NAN], 'randomness.seed': [-1, 1.5, 'x'], 'auto_scale_lr.base_batch_size': [0, -1],
    'default_hooks.checkpoint.interval': [0, -2, 1.5, NAN], 'default_hooks.logger.interval': [0, -1],
    'model.backbone.anything': [NAN], 'some.list': [[1, [NAN]]],
}


def config_with(key, value):
    config = node = {}
    *path, last = key.split('.')
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    for loader in ('train_dataloader', 'val_dataloader'):
        if isinstance(config.get(loader), dict):
            config[loader].setdefault('dataset', {'type': 'X'})
    return config


@pytest.mark.parametrize('key,value', [(key, value) for key, values in WRONG.items() for value in values])
def test_a_value_that_makes_no_sense_is_named(key, value):
    with pytest.raises(UserError, match=r'config c\.py has ') as error:
        check_shape(config_with(key, value), 'c.py')
    assert key in str(error.value) and 'set it to' in str(error.value)


def test_a_loader_without_a_dataset_is_named():
    with pytest.raises(UserError, match='has a val_dataloader without a dataset'):
        check_shape(dict(val_dataloader=dict(batch_size=1)), 'c.py')


@pytest.mark.parametrize('key,value', [
    ('train_cfg.val_interval', 57300.), ('default_hooks.checkpoint.max_keep_ckpts', -1), ('param_scheduler', {}),
    ('optim_wrapper.clip_grad.max_norm', INF), ('model.test_cfg.score_thr', -INF), ('custom_hooks', []),
    ('val_evaluator', [dict(type='X')]), ('optim_wrapper.optimizer.lr', 0), ('train_dataloader', None),
    ('train_dataloader.dataset.data_prefix', 'train'), ('randomness.seed', 0)])
def test_values_that_the_libraries_take_are_accepted(key, value):
    check_shape(config_with(key, value), 'c.py')


def test_every_reading_of_a_config_looks(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text("model = 'x'\n")
    with pytest.raises(UserError, match="has model='x', which is not a dict: set it to one"):
        load_config(str(path))
    path.write_text('train_cfg = dict(max_epochs=3)\n')
    with pytest.raises(UserError, match='train_cfg.max_epochs=0'):
        load_config(str(path), {'train_cfg.max_epochs': 0})
