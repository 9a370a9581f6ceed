"""A COCO file is looked at by whatever is about to use it: datasets of a run, checks, and the metric."""
import json

import pytest
from damage import good_coco
from mmengine.config import Config
from mmengine.registry import DefaultScope

from cait_mm.datasets.build import build_dataset, check_coco_files
from cait_mm.engine.runner import CheckedRunner
from cait_mm.errors import UserError


def with_mixed_ids(content):
    content['images'][1]['id'] = 'one'
    for item in content['annotations'][2:]:
        item['image_id'] = 'one'


def with_a_torn_mask(content):
    content['annotations'][1]['segmentation'] = dict(size=[32, 32], counts='PPo')


BROKEN = {
    'has 1 images whose id is a word where others are numbers': with_mixed_ids,
    'has 1 masks that cannot be read: annotation 1, its compressed RLE is damaged: it is cut off': with_a_torn_mask,
    'has 1 annotations without a box of four numbers': lambda content: content['annotations'][0].pop('bbox'),
    'has no lists of images': lambda content: content.pop('images'),
}


def in_a_loader(path):
    return CheckedRunner.build_dataloader(dict(
        dataset=node(path), batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False))).dataset


def node(path):
    return dict(type='CocoDataset', ann_file=str(path), data_prefix=dict(img='img'), pipeline=[],
                metainfo=dict(classes=('cat', 'dog')))


def in_the_metric(path):
    from mmdet.evaluation import CocoMetric
    return CocoMetric(ann_file=str(path))


USERS = {'dataset': lambda path: build_dataset(node(path), Config()), 'loader': in_a_loader, 'metric': in_the_metric}


@pytest.fixture
def write(tmp_path):
    pytest.importorskip('mmdet.utils').register_all_modules(init_default_scope=False)
    DefaultScope.get_instance(f'coco-{tmp_path}', scope_name='mmdet')
    check_coco_files()

    def write(content):
        (tmp_path / 'x.json').write_text(json.dumps(content))
        return tmp_path / 'x.json'

    return write


@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize('said', BROKEN)
def test_files_on_which_pycocotools_would_fail_are_errors(write, user, said):
    content = good_coco()
    BROKEN[said](content)
    if 'RLE' in said and user != 'metric':
        assert len(USERS[user](write(content))) == 3, 'masks are looked at where they are loaded'
        return
    with pytest.raises(UserError) as error:
        USERS[user](write(content))
    assert f'annotation file {write(content)} {said}' in str(error.value)


def test_a_good_file_is_read_as_mmdetection_reads_it(write):
    from mmdet.datasets.api_wrappers import COCO
    from mmdet.evaluation.metrics import coco_metric
    path = write(good_coco())
    ours, theirs = coco_metric.COCO(str(path)), COCO(str(path))
    assert isinstance(ours, COCO) and type(ours) is not COCO and vars(ours) == vars(theirs)
    assert len(USERS['dataset'](path)) == len(in_a_loader(path)) == 3
    assert USERS['metric'](path)._coco_api.dataset == theirs.dataset


def test_a_file_of_pictures_alone_is_read(write):
    from mmdet.evaluation.metrics import coco_metric
    content = good_coco()
    del content['annotations']
    assert len(coco_metric.COCO(str(write(content))).imgs) == 3


@pytest.mark.parametrize('content', ['[', '{"images": [', ''])
def test_files_that_are_no_json_are_errors(tmp_path, write, content):
    write([]).write_text(content)
    with pytest.raises(UserError, match='x.json'):
        USERS['metric'](tmp_path / 'x.json')
