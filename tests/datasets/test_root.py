"""--data-root: everything below the old folder moves, nothing else does."""
import copy

import pytest
from conftest import ROOT
from mmengine.config import Config

from cait_mm.datasets.check_files import _wanted
from cait_mm.datasets.root import move_data
from cait_mm.errors import UserError


def paths(config):
    """Every path of the loaders, and every string of the evaluators."""
    places = [path for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
              for path, _, _ in _wanted(config, loader)]
    evaluators = [config[key] for key in ('val_evaluator', 'test_evaluator')]
    return places + [value for evaluator in evaluators for key, value in evaluator.items() if key == 'ann_file']


@pytest.mark.parametrize('name', ['ade20k', 'coco_instance', 'coco_semantic', 'scenes_cls', 'scenes_seg', 'scenes_det',
                                  'imagenet', 'polyp', 'acdc', 'potsdam'])
@pytest.mark.parametrize('root', ['/elsewhere/x', '/elsewhere/x/', 'x'])
def test_every_path_of_a_config_moves(name, root):
    config = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / f'{name}.py')
    old, before = config.data_root.rstrip('/'), paths(config)
    move_data(config, root)
    assert paths(config) == [path.replace(old, root.rstrip('/'), 1) for path in before]
    assert all(path.startswith(root.rstrip('/')) for path in paths(config)) and config.data_root.startswith(root)


def test_wrappers_and_evaluators_are_followed_and_the_rest_stays():
    inner = dict(type='A', data_root='data/a/', data_prefix=dict(img='x'))
    config = Config(dict(
        train_dataloader=dict(dataset=dict(type='RepeatDataset', dataset=dict(
            type='ConcatDataset', datasets=[inner, dict(inner, data_root='data/a/b', ann_file='data/ab/list.txt')]))),
        val_evaluator=[dict(ann_file='data/a/val.json', seg_prefix='data/a/maps/', outfile_prefix='data/out'),
                       dict(ann_file='./data/a/val.json')],
        model=dict(class_weight='data/a/weights.npy', checkpoint='checkpoints/data/a', url='http://data/a'),
        work_dir='data/a/runs', size=(1, 2.5, None, True)))
    old = copy.deepcopy(config)
    move_data(config, '/new')
    first, second = config.train_dataloader.dataset.dataset.datasets
    assert first.data_root == '/new/' and second.data_root == '/new/b' and second.ann_file == 'data/ab/list.txt'
    assert config.val_evaluator[0] == dict(ann_file='/new/val.json', seg_prefix='/new/maps/', outfile_prefix='data/out')
    assert config.val_evaluator[1].ann_file == '/new/val.json'
    assert config.model == dict(class_weight='/new/weights.npy', checkpoint='checkpoints/data/a', url='http://data/a')
    assert (config.work_dir, config.size) == (old.work_dir, old.size)


@pytest.mark.parametrize('roots,message', [(['a', 'b'], 'several folders'), ([None, ''], 'no data_root'),
                                           (['a', 'ab'], 'several folders')])
def test_data_that_cannot_be_moved_are_an_error(roots, message):
    config = Config(dict(train_dataloader=dict(dataset=[dict(data_root=root) for root in roots])))
    with pytest.raises(UserError, match=message):
        move_data(config, '/new')


def test_an_empty_root_is_a_sentence():
    with pytest.raises(UserError, match='is empty'):
        move_data(Config(dict()), '')
