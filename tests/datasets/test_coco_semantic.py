"""COCO's semantic maps: category ids with gaps become 133 classes."""
import json

import numpy as np
import pytest
from conftest import real_data
from PIL import Image

from cait_mm.datasets.coco_semantic import IDS, PANOPTIC, CocoSemanticDataset


def dataset(folder, **keywords):
    return CocoSemanticDataset(data_root=str(folder), data_prefix=dict(img_path='images', seg_map_path='maps'),
                               pipeline=[dict(type='mmseg.LoadAnnotations')], **keywords)


@pytest.fixture
def folder(tmp_path):
    """One map that holds every id of a byte up to 200, and the unlabelled 0."""
    for kind, suffix, values in (('images', 'jpg', np.zeros((201, 2, 3), np.uint8)),
                                 ('maps', 'png', np.arange(201, dtype=np.uint8).repeat(2).reshape(201, 2))):
        (tmp_path / kind).mkdir()
        Image.fromarray(values).save(tmp_path / kind / f'a.{suffix}')
    return tmp_path


def test_ids_become_classes_and_the_rest_is_ignored(folder):
    labels = dataset(folder)[0]['gt_seg_map'][:, 0]
    assert sorted(set(labels.tolist())) == [*range(133), 255]
    assert labels[list(IDS)].tolist() == list(range(133)) and (labels == 255).sum() == 201 - 133
    assert labels[1] == PANOPTIC['classes'].index('person') and labels[200] == PANOPTIC['classes'].index('rug-merged')


def test_a_subset_of_classes(folder):
    few = dataset(folder, metainfo=dict(classes=('person', 'sky-other-merged')))
    labels = few[0]['gt_seg_map'][:, 0]
    assert labels[1] == 0 and labels[187] == 1 and set(labels.tolist()) == {0, 1, 255}
    assert few.metainfo['palette'][0] == list(PANOPTIC['palette'][0])


def test_ids_and_names_are_cocos():
    categories = json.loads((real_data('coco_100_100') / 'annotations/panoptic_val2017.json').read_text())['categories']
    assert [(item['id'], item['name']) for item in categories] == list(zip(IDS, PANOPTIC['classes']))
