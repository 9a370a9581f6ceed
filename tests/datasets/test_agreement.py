"""Loaders and evaluators that speak of different data are told apart without reading a label."""
import json

import pytest
from conftest import CONFIGS

from cait_mm.config.load import load_config
from cait_mm.datasets.agreement import class_problems, dataset_problems, loader_problems
from cait_mm.datasets.build import build_dataset
from cait_mm.errors import UserError

pytest.importorskip('mmseg')
pytest.importorskip('mmdet')
CATEGORIES = [dict(id=1, name='cat'), dict(id=2, name='dog')]
DETECTION = """
default_scope = 'mmdet'
train_dataloader = dict(dataset=dict(
    type='RepeatDataset', times=2, dataset=dict(
        type='CocoDataset', data_root='{root}', ann_file='train.json', data_prefix=dict(img='images'), pipeline=[],
        metainfo=dict(classes=('cat', 'dog')), filter_cfg=dict(filter_empty_gt=True))))
val_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root='{root}', ann_file='val.json', data_prefix=dict(img='images'), test_mode=True,
    pipeline=[], metainfo=dict(classes=('cat', 'dog'))))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file='{root}/val.json', metric='bbox')
test_evaluator = [dict(type='DumpDetResults'), dict(type='CocoMetric', ann_file='{root}/val.json')]
"""
SEGMENTATION = """
default_scope = 'mmseg'
dataset = dict(type='BaseSegDataset', data_root='{root}', data_prefix=dict(img_path='images', seg_map_path='labels'),
               metainfo=dict(classes=('a', 'b')), pipeline=[])
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
"""


def coco(**changes):
    image = dict(id=1, file_name='a.jpg', height=40, width=40)
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 20, 20], area=400, iscrowd=0)
    return dict(dict(images=[image], annotations=[box], categories=CATEGORIES), **changes)


@pytest.fixture
def data(tmp_path):
    for folder, name in (('images', 'a.jpg'), ('labels', 'a.png')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(b'not read')
    for split in ('train', 'val'):
        (tmp_path / f'{split}.json').write_text(json.dumps(dict(coco(), info=split)))
    return tmp_path


def config(data, text, **options):
    path = data / 'config.py'
    path.write_text(text.format(root=data))
    return load_config(str(path), {key.replace('__', '.'): value for key, value in options.items()})


@pytest.mark.parametrize('text', [DETECTION, SEGMENTATION])
def test_parts_that_fit(data, text):
    assert loader_problems(config(data, text)) == []


def test_an_evaluator_of_other_annotations(data):
    moved = data / 'elsewhere'
    moved.mkdir()
    (moved / 'val.json').write_text(json.dumps(coco()))
    problems = loader_problems(config(data, DETECTION, val_dataloader__dataset__data_root=str(moved),
                                      test_dataloader__dataset__data_root=str(moved)))
    assert len(problems) == 2
    assert problems[0].startswith(f'val_evaluator.ann_file is {data}/val.json, and val_dataloader reads {moved}/val')
    assert problems[1].startswith('test_evaluator.1.ann_file is')
    (moved / 'val.json').write_bytes((data / 'val.json').read_bytes())
    again = dict(val_dataloader__dataset__data_root=str(moved), test_dataloader__dataset__data_root=str(moved))
    assert loader_problems(config(data, DETECTION, **again)) == [], 'a copy scores the same'
    (data / 'val.json').unlink()
    assert 'and it does not exist' in loader_problems(config(data, DETECTION, **again))[0]
    (data / 'val.json').symlink_to(moved / 'val.json')
    assert loader_problems(config(data, DETECTION, **again)) == []


@pytest.mark.parametrize('key,folder,there', [('img_suffix', 'images', '.jpg'), ('seg_map_suffix', 'labels', '.png')])
def test_a_suffix_that_fits_no_file(data, key, folder, there):
    problem, = loader_problems(config(data, SEGMENTATION, **{f'val_dataloader__dataset__{key}': '_rgb.tif'}))
    assert problem.startswith(f'val_dataloader: no file below {data}/{folder} ends in "_rgb.tif" (1 in "{there}")')
    assert f'set its dataset\'s {key}, to "{there}"' in problem


def test_classes_on_one_loader_alone(data):
    text = SEGMENTATION.replace('val_dataloader = dict(dataset=dataset)',
                                'val_dataloader = dict(dataset={k: v for k, v in dataset.items() if k != "metainfo"})')
    text = text.replace('{k', '{{k').replace('"metainfo"}', '"metainfo"}}')
    assert loader_problems(config(data, text)) == [
        'val_dataloader has no classes and train_dataloader has 2: set the same metainfo for both.']
    text = DETECTION.replace("pipeline=[], metainfo=dict(classes=('cat', 'dog'))))", 'pipeline=[]))')
    val, test = loader_problems(config(data, text))
    assert val.startswith('train_dataloader and val_dataloader have different classes (2 and 80; ')
    assert 'test_dataloader' in test


def test_labels_that_are_shifted_on_one_loader_alone(data):
    problem, = loader_problems(config(data, SEGMENTATION, val_dataloader__dataset__reduce_zero_label=True))
    assert problem.startswith('val_dataloader has reduce_zero_label=True and train_dataloader has not')


def test_classes_that_differ():
    assert class_problems({}) == class_problems(dict(train=['a'], val=('a', ))) == []
    assert 'in another order' in class_problems(dict(train=['a', 'b'], val=['b', 'a']))[0]
    problem, = class_problems(dict(train=['a', 'b', 'c'], val=['a', 'b']))
    assert 'c is in train alone' in problem
    assert class_problems(dict(train=['n01', 'n02'], val=['0', '1'])) == [], 'a list file names no classes'


def test_categories_that_match_no_class(data):
    for split in ('train', 'val'):
        content = coco(categories=[dict(id=1, name='Cat'), dict(id=2, name='Dog')])
        (data / f'{split}.json').write_text(json.dumps(content))
    cfg = config(data, DETECTION)
    val, = dataset_problems('val', build_dataset(cfg.val_dataloader.dataset, cfg))
    assert val.startswith('val: no category of its annotation file has the name of a class (cat, dog)')
    with pytest.raises(UserError, match=r'CocoDataset train.json of config .* has no items'):
        build_dataset(cfg.train_dataloader.dataset.dataset, cfg)


def test_datasets_that_are_in_order_or_empty(data):
    cfg = config(data, SEGMENTATION)
    assert dataset_problems('x', build_dataset(cfg.train_dataloader.dataset, cfg)) == []
    other = dict(cfg.train_dataloader.dataset, img_suffix='.bmp')
    assert 'has no items' in dataset_problems('x', build_dataset(dict(other, serialize_data=False), cfg))[0]
    with pytest.raises(UserError, match='has no items'):
        build_dataset(other, cfg)


def test_every_config_of_the_repository_agrees_with_itself():
    for name in ('upernet_deit_t_camvid', 'mask_rcnn_deit_t_coco', 'cascade_decoder_deit_s_acdc',
                 'upernet_swin_potsdam', 'cascade_decoder_deit_s_polyp', 'fpn_deit_t_coco_semantic'):
        assert loader_problems(load_config(str(CONFIGS[name]))) == [], name
