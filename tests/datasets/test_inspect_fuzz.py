"""Annotation files and label maps of every broken kind end in sentences, never in a traceback."""
import copy
import json
import math
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from cait_mm.datasets.inspect import config_problems, inspect_data
from cait_mm.utils.configs import load_config

pytest.importorskip('mmdet')
SEEDS = 60
NASTY = [None, True, -1, 0, 0.5, math.nan, math.inf, 10 ** 30, 10 ** 400, '', '1', 'x' * 500, '\x00', '../..', [], {},
         [[]], [1, 2, 3], {'a': 1}, [[1, 2, 3, 4]], [[1, 'x'] * 3], dict(size=[1, 1], counts='x'),
         dict(size=[32, 32], counts='o' * 40), dict(size=[32, 32], counts=[-1, 1025]), dict(size='ab', counts={}),
         'deep']
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


def good():
    mask = [[2, 2, 20, 2, 20, 20, 2, 20]]
    return dict(
        images=[dict(id=index, file_name=f'{index}.jpg', height=32, width=32) for index in range(3)],
        annotations=[dict(id=index, image_id=index // 2, category_id=1 + index % 2, bbox=[2, 2, 18, 18], area=324,
                          iscrowd=0, segmentation=copy.deepcopy(mask)) for index in range(6)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])


def nasty(chance):
    value = copy.deepcopy(chance.choice(NASTY))
    for _ in range(800 if value == 'deep' else 0):
        value = [value]
    return value


def spoil(node, chance):
    """Change, remove or double something at a random depth, in place."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and chance.random() < 0.75:
            node = node[key]
            continue
        what = chance.random()
        if what < 0.7:
            node[key] = nasty(chance)
        elif what < 0.85:
            del node[key]
        elif isinstance(node, list):
            node.append(node[key])
        return


def inspected(tmp_path, text, **values):
    (tmp_path / 'config.py').write_text(text.format(root=tmp_path, **values))
    config = load_config(str(tmp_path / 'config.py'))
    loaders = [key for key in config if key.endswith('_dataloader')]
    found = inspect_data(config, loaders)
    sentences = config_problems(config, loaders, found)
    for states in found.values():
        sentences += states['problems'] + states['remarks']
    assert all(isinstance(sentence, str) and sentence.rstrip().endswith('.') and '\n' not in sentence
               and len(sentence) < 2000 for sentence in sentences), sentences
    json.dumps(found)
    return [problem for states in found.values() for problem in states['problems']]


def pictures(folder, count=3):
    (folder / 'images').mkdir()
    for index in range(count):
        Image.new('RGB', (32, 32), (index, 2, 3)).save(folder / 'images' / f'{index}.jpg')


def test_broken_coco_files(tmp_path):
    pictures(tmp_path)
    (tmp_path / 'x.json').write_text(json.dumps(good()))
    assert inspected(tmp_path, DETECTION) == []
    told = 0
    for seed in range(SEEDS):
        chance = random.Random(seed)
        content = good()
        for _ in range(chance.choice((1, 1, 2, 5))):
            spoil(content, chance)
        text = json.dumps(content)
        if seed % 10 == 9:  # torn, or with a byte of something else
            place = chance.randrange(len(text))
            text = text[:place] + chance.choice(('', '\x00' + text[place + 1:], '}' + text[place:]))
        (tmp_path / 'x.json').write_text(text)
        told += bool(inspected(tmp_path, DETECTION))
    assert told > SEEDS / 2, 'most of what is spoiled is said'


def label_map(chance, path):
    generator = np.random.default_rng(chance.randrange(2 ** 31))
    shape = chance.choice(((32, 32), (32, 32), (32, 31), (1, 1), (32, 32, 3), (32, 32, 4), (32, 32, 2)))
    kinds = (np.uint8, np.uint8, np.uint16, np.int32, np.float32, np.bool_)
    kind = chance.choice(kinds) if len(shape) == 2 else np.uint8
    values = generator.integers(0, chance.choice((1, 2, 3, 4, 256)), shape).astype(kind)
    if kind == np.float32 and chance.random() < 0.5:
        values[0] = math.nan
    if chance.random() < 0.3:
        values = (values * 255).astype(np.uint8 if kind == np.bool_ else kind)
    Image.fromarray(values).save(path, format='TIFF' if values.dtype.kind in 'fi' else 'PNG')
    content = path.read_bytes()
    broken = chance.random()
    if broken < 0.15:
        path.write_bytes(content[:chance.randrange(len(content))])
    elif broken < 0.3:
        place = chance.randrange(len(content))
        path.write_bytes(content[:place] + bytes([chance.randrange(256)]) + content[place + 1:])
    elif broken < 0.35:
        path.unlink()


def test_broken_label_maps(tmp_path):
    pictures(tmp_path)
    for seed in range(SEEDS // 2):
        chance = random.Random(1000 + seed)
        shutil.rmtree(tmp_path / 'labels', ignore_errors=True)
        (tmp_path / 'labels').mkdir()
        for index in range(3):
            label_map(chance, tmp_path / 'labels' / f'{index}.png')
        inspected(tmp_path, SEGMENTATION, shift=chance.random() < 0.5)
