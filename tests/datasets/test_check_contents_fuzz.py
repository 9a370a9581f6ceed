"""Annotation files and label maps of every broken kind end in sentences, never in a traceback."""
import json
import random
import shutil

import pytest
from damage import good_coco, label_map, spoil
from PIL import Image

from cait_mm.config.load import load_config
from cait_mm.datasets.check_contents import check_contents, mismatches

pytest.importorskip('mmdet')
SEEDS = 60
DETECTION = """
default_scope = 'mmdet'
train_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root='{root}', ann_file='x.json', data_prefix=dict(img='images'),
    metainfo=dict(classes=('cat', 'dog')), filter_cfg=dict(filter_empty_gt=True),
    pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]))
val_dataloader = train_dataloader
val_evaluator = dict(type='CocoMetric', ann_file='{root}/x.json')
"""
SEGMENTATION = """
default_scope = 'mmseg'
train_dataloader = dict(dataset=dict(
    type='BaseSegDataset', data_root='{root}', data_prefix=dict(img_path='images', seg_map_path='labels'),
    metainfo=dict(classes=('a', 'b', 'c')), reduce_zero_label={shift}, pipeline=[dict(type='LoadImageFromFile')]))
"""


def inspected(tmp_path, text, **values):
    (tmp_path / 'config.py').write_text(text.format(root=tmp_path, **values))
    config = load_config(str(tmp_path / 'config.py'))
    loaders = [key for key in config if key.endswith('_dataloader')]
    inspection = check_contents(config, loaders)
    sentences = mismatches(config, loaders, inspection)
    for states in inspection.values():
        sentences += states['problems'] + states['remarks']
    assert all(isinstance(sentence, str) and sentence.rstrip().endswith('.') and '\n' not in sentence
               and len(sentence) < 2000 for sentence in sentences), sentences
    json.dumps(inspection)
    return [problem for states in inspection.values() for problem in states['problems']]


def pictures(folder, count=3):
    (folder / 'images').mkdir()
    for index in range(count):
        Image.new('RGB', (32, 32), (index, 2, 3)).save(folder / 'images' / f'{index}.jpg')


def test_broken_coco_files(tmp_path):
    pictures(tmp_path)
    (tmp_path / 'x.json').write_text(json.dumps(good_coco()))
    assert inspected(tmp_path, DETECTION) == []
    told = 0
    for seed in range(SEEDS):
        chance = random.Random(seed)
        content = good_coco()
        for _ in range(chance.choice((1, 1, 2, 5))):
            spoil(content, chance)
        text = json.dumps(content)
        if seed % 10 == 9:  # torn, or with a byte of something else
            place = chance.randrange(len(text))
            text = text[:place] + chance.choice(('', '\x00' + text[place + 1:], '}' + text[place:]))
        (tmp_path / 'x.json').write_text(text)
        told += bool(inspected(tmp_path, DETECTION))
    assert told > SEEDS / 2, 'most of what is spoiled is said'


def test_broken_label_maps(tmp_path):
    pictures(tmp_path)
    for seed in range(SEEDS // 2):
        chance = random.Random(1000 + seed)
        shutil.rmtree(tmp_path / 'labels', ignore_errors=True)
        (tmp_path / 'labels').mkdir()
        for index in range(3):
            label_map(chance, tmp_path / 'labels' / f'{index}.png')
        inspected(tmp_path, SEGMENTATION, shift=chance.random() < 0.5)
