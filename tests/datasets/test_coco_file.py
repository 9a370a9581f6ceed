"""Mistakes in a COCO file are detected in Python, before a library reads it."""
import copy
import json
import math

import numpy as np
import pytest
from conftest import real_data
from pycocotools import mask as coco_mask

from cait_mm.datasets.coco_file import content_problems, read_json, structure_problems
from cait_mm.datasets.coco_masks import decode_counts, mask_trouble
from cait_mm.datasets.label_maps import ENOUGH
from cait_mm.errors import UserError

POLYGON = [[10, 10, 30, 10, 30, 30, 10, 30]]


def coco(pictures=2):
    """Every picture has a cat and a dog."""
    boxes = [dict(id=2 * image + kind, image_id=image, category_id=5 + kind, bbox=[10, 10, 20, 20], area=400, iscrowd=0,
                  segmentation=copy.deepcopy(POLYGON)) for image in range(pictures) for kind in (0, 1)]
    images = [dict(id=image, file_name=f'{image}.jpg', height=40, width=50) for image in range(pictures)]
    return dict(images=images, annotations=boxes, categories=[dict(id=5, name='cat'), dict(id=6, name='dog')])


def findings(content, classes=('cat', 'dog'), with_mask=True, training=True):
    assert structure_problems('x.json', content) == []
    return content_problems('x.json', content, classes, with_mask, training)


def test_a_good_file():
    assert findings(coco()) == ([], [])
    assert findings(coco(), ('dog', )) == ([], []), 'a subset of the categories'
    assert structure_problems('x', dict(images=[], categories=[]), annotated=False) == []


@pytest.mark.parametrize('content,said', [
    ([], 'is a list at its top'), ('text', 'is a text at its top'), (None, 'is a null at its top'),
    (dict(annotations=[], categories=[]), 'no lists of images (missing)'),
    (dict(images='a.jpg', annotations={}, categories=[]), 'no lists of images (text), annotations (object)')])
def test_a_file_of_another_kind(content, said):
    problem, = structure_problems('x.json', content)
    assert said in problem


@pytest.mark.parametrize('part,key,value,said', [
    ('images', 'id', None, 'without an id'), ('images', 'id', [1], 'without an id'),
    ('images', 'id', 1, 'whose id another one has'), ('annotations', 'id', 1, 'whose id another one has'),
    ('categories', 'id', 6, 'whose id another one has'), ('categories', 'name', 'dog', 'whose name another one has'),
    ('images', 'file_name', 7, 'without a file_name'), ('images', 'height', '40', 'whose height is no number'),
    ('images', 'width', 0, 'whose width is no'), ('images', 'width', 10 ** 400, 'says width=a huge number'),
    ('annotations', 'bbox', None, 'without a box of four'), ('annotations', 'bbox', [1, 2, 3], 'without a box of'),
    ('annotations', 'bbox', [[[[[1]]]], 1, 2, 3], 'not of finite'), ('categories', 'name', [[[[]]]], 'without a name'),
    ('annotations', 'bbox', [1, 2, math.nan, 3], 'not of finite'), ('annotations', 'bbox', ['1', 2, 3, 4], 'not of'),
    ('annotations', 'bbox', [1, 2, 10 ** 400, 3], 'not of finite'),
    ('annotations', 'bbox', [1, 2, math.inf, 3], 'not of finite'), ('annotations', 'bbox', [9, 9, -3, 3], 'negative'),
    ('annotations', 'area', None, 'without an area'), ('annotations', 'iscrowd', 'no', 'neither 0 nor 1'),
    ('images', 'id', 'one', 'whose id is a word where others are numbers'),
    ('categories', 'name', None, 'without a name')])
def test_an_entry_that_a_library_would_stumble_over(part, key, value, said):
    content = coco()
    content[part][0][key] = value
    problem, = structure_problems('x.json', content)
    assert problem.startswith(f'annotation file x.json has 1 {part} ') and said in problem and f'{part}[' in problem \
        or 'stands 2 times' in problem
    del content[part][0][key]
    if key not in ('iscrowd', ):
        assert len(structure_problems('x.json', content)) == 1, 'missing altogether'


def test_entries_that_are_no_objects():
    content = coco()
    content['images'][1], content['annotations'][1] = 'b.jpg', None
    assert [f'{part} that are no objects' in problem for part, problem in zip(
        ('images', 'annotations'), structure_problems('x', content))] == [True, True]


@pytest.mark.parametrize('key,value,hint', [('image_id', 99, ''), ('category_id', '5', '(it lists ints)'),
                                            ('category_id', None, ''), ('image_id', True, ''), ('image_id', [0], '')])
def test_annotations_of_unlisted_pictures_and_categories(key, value, hint):
    content = coco()
    content['annotations'][0][key] = value
    problem, = findings(content)[0]
    assert 'has 1 annotations of a' in problem and f'{key} {value!r} {hint}'.rstrip() in problem


@pytest.mark.parametrize('box,why', [([10, 10, 0, 20], 'less than a pixel'), ([10, 10, 20, 0.5], 'less than a pixel'),
                                     ([50, 10, 5, 5], 'outside'), ([-9, 3, 9, 9], 'outside'),
                                     ([3, 40, 9, 9], 'outside')])
def test_boxes_that_are_left_out(box, why):
    content = coco(60)
    content['annotations'][0]['bbox'] = box
    problems, remarks = findings(content)
    assert not problems and len(remarks) == 1 and why in remarks[0], 'one in 120 is a remark, as in COCO itself'
    for item in content['annotations'][:9]:
        item['bbox'] = box
    assert 'has 9 boxes that MMDetection leaves out' in findings(content)[0][0]


def test_classes_that_nothing_teaches():
    content = coco()
    for item in content['annotations']:
        item['iscrowd'] = 1
    problems, remarks = findings(content)
    assert 'no box to learn cat, dog from: all 4 are crowds' in problems[0]
    assert 'drawn as polygons' in remarks[0]
    for pictures, training, problem in ((2, True, False), (2 * ENOUGH, True, True), (2 * ENOUGH, False, False)):
        content = coco(pictures)
        content['annotations'] = [item for item in content['annotations'] if item['category_id'] == 5]
        said = findings(content, training=training)
        assert [len(part) for part in said] == [int(problem), int(not problem)]
        assert 'no box of 1 of 2 classes: dog' in said[not problem][0]
    assert 'no box to learn' in findings(dict(coco(), annotations=[]))[0][0]


def test_masks_that_are_missing_where_they_are_read():
    content = coco()
    del content['annotations'][0]['segmentation']
    content['annotations'][1]['segmentation'] = []
    assert 'has 2 boxes without a mask' in findings(content)[0][0]
    assert findings(content, with_mask=False) == ([], [])


def test_categories_and_classes():
    assert 'has no category of the classes (Cat), but cat, dog' in findings(coco(), ('Cat', ))[0][0]
    assert 'lacks the categories cow; it has cat, dog' in findings(coco(), ('cat', 'cow'))[0][0]
    assert 'cat would be called dog' in findings(coco(), ('dog', 'cat'))[0][0]


@pytest.mark.parametrize('mask,said', [
    ([[1, 1, 5, 5]], '2 points'), ([[1, 1, 5, 5, 9]], '5 numbers'), ([[1, 1, 5, math.nan, 9, 9]], 'no numbers'),
    ([[1, 1, 5, '5', 9, 9]], 'no numbers'), ([1, 1, 5, 5, 9, 9], 'one list of numbers'), (['abcdef'], 'is a str'),
    (POLYGON + [[]], '0 points'), ('garbage', 'is a str'), (7, 'is a int'), ({}, 'is for a picture of None'),
    (dict(size=[50, 40], counts=[2000]), 'is for a picture of [50, 40]'),
    (dict(size=[40, 50], counts=[1999]), '1999 pixels and the picture 2000'),
    (dict(size=[40, 50], counts=[2001, -1]), 'no whole numbers'), (dict(size=[40, 50], counts=[2000.0]), 'no whole'),
    (dict(size=[40, 50], counts=None), 'no whole numbers'), (dict(size=[40, 50], counts='\u20ac!'), 'the character'),
    (dict(size=[40, 50], counts='o' * 30), 'too long'), (dict(size=[40, 50], counts='PPo'), 'cut off'),
    (dict(size=[40, 50], counts='ooooooo'), 'too long'), (dict(size=[40, 50], counts='@'), 'negative'),
    (dict(size=[40, 50], counts='12'), '3 pixels'),
    (dict(size=[[[[]]]], counts=[]), 'a list of 1'), (dict(size=[40, 50], counts=[10 ** 400]), 'no whole numbers')])
def test_masks_that_cannot_be_drawn(mask, said):
    assert said in mask_trouble(mask, 40, 50)
    content = coco()
    content['annotations'][0]['segmentation'] = mask
    if mask:
        assert 'has 1 masks that cannot be read: annotation 0' in findings(content)[0][0]


@pytest.mark.parametrize('seed', range(20))
def test_runs_are_decoded_as_the_coco_api_writes_them(seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 70, 2).tolist()
    drawn = generator.random((height, width)) < generator.random()
    if seed % 2:
        drawn = np.sort(drawn.reshape(-1)).reshape(drawn.shape)  # long runs
    compressed = coco_mask.encode(np.asfortranarray(drawn.astype(np.uint8)))
    flat = drawn.reshape(-1, order='F')
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *([0] if flat[0] else []), *changes, flat.size]).tolist()
    assert decode_counts(compressed['counts']) == runs
    mask = dict(size=[height, width], counts=compressed['counts'].decode())
    assert mask_trouble(mask, height, width) is None
    assert mask_trouble(dict(mask, counts=runs), height, width) is None


@pytest.mark.parametrize('text', ['', '{"images": [', '[' * 200000, '{"a": ' + '9' * 5000 + '}', '\ufffd', '\x00'])
def test_files_that_are_no_json(tmp_path, text):
    path = tmp_path / 'x.json'
    path.write_bytes(text.encode() if text != '\ufffd' else b'\xff\xfe\xfd')
    with pytest.raises(UserError, match='x.json'):
        read_json(path)


def test_real_coco_has_no_problems():
    folder = real_data('coco_100_100/annotations')
    for name in ('instances_train2017_100', 'instances_val2017_100'):
        content = read_json(folder / f'{name}.json')
        problems, remarks = findings(content, ('person', ))
        assert problems == [] and remarks == [], json.dumps(problems + remarks)
