import json
import shutil

import numpy as np
import pytest
from conftest import real_data
from PIL import Image

TASKS = {'seg': 'configs/small/upernet_deit_scenes.py', 'cls': 'configs/small/deit_scenes.py'}
DETECTION = """
_base_ = ['{root}/configs/_base_/datasets/scenes_det.py', '{root}/configs/_base_/det_runtime.py']
"""


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    from cait_mm.datasets.scenes import make_scenes
    folder = tmp_path_factory.mktemp('scenes') / 'set'
    make_scenes(folder, train=8, val=8, size=(64, 64))
    return folder


@pytest.fixture
def data(scenes, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(scenes, tmp_path / 'data', symlinks=True)


def check(tool, tmp_path, data, task='seg', *words):
    config = TASKS.get(task)
    if task == 'det':
        from conftest import ROOT
        config = tmp_path / 'det.py'
        config.write_text(DETECTION.format(root=ROOT))
    root = data / 'classification' if task == 'cls' else data
    words = ('--json', tmp_path / 'out.json', *words, '--data-root', root)
    status, text, err = tool('check_data.py', config, *words)
    assert 'Traceback' not in err
    return status, text, json.loads((tmp_path / 'out.json').read_text())


@pytest.mark.parametrize('task,items', [('seg', 8), ('det', 8), ('cls', 8)])
def test_a_good_set_has_no_problems(tool, tmp_path, data, task, items):
    status, text, report = check(tool, tmp_path, data, task)
    assert status == 0, text
    assert report['train_dataloader']['items'] == items == report['train_dataloader']['decoded']
    assert all(states['problems'] == [] for states in report.values()) and 'train: found' in text


def test_a_broken_picture_is_named_once(tool, tmp_path, data):
    path = data / 'images' / 'training' / 'scene_000003.jpg'
    torn = path.read_bytes()[:200]
    for link in (path, next((data / 'classification' / 'train').rglob(path.name))):
        link.unlink()
        link.write_bytes(torn)
    for task in ('seg', 'det', 'cls'):
        status, text, report = check(tool, tmp_path, data, task)
        problems = report['train_dataloader']['problems']
        assert status == 2 and len(problems) == 1 and 'scene_000003.jpg cannot be read' in problems[0]
        assert '8 items, 8 decoded, 1 problems' in text and problems[0] in text


def test_labels_out_of_range_and_of_another_size_are_named(tool, tmp_path, data):
    folder = data / 'annotations' / 'validation'
    first, second = sorted(folder.iterdir())[:2]
    labels = np.asarray(Image.open(first)).copy()
    labels[0, :2] = 77, 255
    Image.fromarray(labels).save(first)
    Image.fromarray(np.asarray(Image.open(second))[:32]).save(second)
    status, _, report = check(tool, tmp_path, data)
    problems = report['val_dataloader']['problems']
    assert status == 2 and len(problems) == 2 and report['train_dataloader']['problems'] == []
    assert 'holds 77, and there are classes 0 to 9 and 255 to be ignored' in problems[0]
    assert 'is 32x64, its picture 64x64' in problems[1]


def test_pictures_and_labels_without_the_other_are_named(tool, tmp_path, data):
    next((data / 'annotations' / 'training').glob('*2.png')).unlink()
    next((data / 'images' / 'training').glob('*5.jpg')).unlink()
    status, _, report = check(tool, tmp_path, data)
    problems = report['train_dataloader']['problems']
    assert status == 2 and len(problems) == 2
    assert 'has no label map' in problems[0] and 'scene_000005.png has no picture' in problems[1]
    status, _, report = check(tool, tmp_path, data, 'det')
    problem = report['train_dataloader']['problems'][0]
    assert status == 2 and 'scene_000005.jpg does not exist, but it is annotated' in problem


def test_a_coco_file_without_a_class_is_named(tool, tmp_path, data):
    path = data / 'instances_training.json'
    content = json.loads(path.read_text())
    content['categories'][0]['name'] = 'bush'
    path.write_text(json.dumps(content))
    status, _, report = check(tool, tmp_path, data, 'det')
    assert status == 2 and 'lacks the categories tree' in report['train_dataloader']['problems'][0]


def test_mistakes_in_a_coco_file_are_named(tool, tmp_path, data):
    path = data / 'instances_training.json'
    content = json.loads(path.read_text())
    content['images'][0]['height'] = 96
    content['annotations'][0]['image_id'], content['annotations'][1]['category_id'] = 99, 999
    path.write_text(json.dumps(content))
    status, _, report = check(tool, tmp_path, data, 'det')
    problems = '\n'.join(report['train_dataloader']['problems'])
    assert status == 2 and len(report['train_dataloader']['problems']) == 4
    assert 'its RLE is for a picture of [64, 64] (height, width) and the picture is [96, 64]' in problems
    assert '1 annotations of a picture that it does not list: image_id 99' in problems
    assert '1 annotations of a category that it does not list: category_id 999' in problems
    assert 'is 64x64, its annotations are for 96x64' in problems
    path.write_text(json.dumps(content)[:-9])
    status, text, report = check(tool, tmp_path, data, 'det')
    assert status == 2 and 'instances_training.json is no readable JSON' in text
    assert report['val_dataloader']['problems'] == [], 'the other split is looked at all the same'


def test_json_goes_alone_to_standard_output(tool, tmp_path, data):
    from conftest import ROOT
    config = tmp_path / 'det.py'
    config.write_text(DETECTION.format(root=ROOT))
    status, text, _ = tool('check_data.py', config, '--json', '-', '--data-root', data)
    assert status == 0 and json.loads(text)['val_dataloader']['items'] == 8


def test_pictures_of_other_formats_are_opened_too(tool, tmp_path, data):
    folder = data / 'images' / 'training'
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            picture.save(path.with_suffix('.tif'))
        path.unlink()
    (folder / 'scene_000003.tif').write_text('no picture')
    status, text, err = tool('check_data.py', TASKS['seg'], '--json', tmp_path / 'out.json', '--cfg-options',
                             *(f'{split}_dataloader.dataset.data_root={data}/' for split in ('train', 'val', 'test')),
                             'train_dataloader.dataset.img_suffix=.tif')
    problems = json.loads((tmp_path / 'out.json').read_text())['train_dataloader']['problems']
    assert status == 2 and len(problems) == 1 and 'scene_000003.tif cannot be read' in problems[0], text + err


def test_only_as_many_as_wanted_are_decoded(tool, tmp_path, data):
    assert check(tool, tmp_path, data, 'seg', '--samples', 3)[2]['train_dataloader']['decoded'] == 3
    assert check(tool, tmp_path, data, 'seg', '--samples', 0)[2]['train_dataloader']['decoded'] == 8


def test_real_camvid_is_in_order(tool, tmp_path):
    folder = real_data('camvid_subset')
    options = [f'{split}_dataloader.dataset.data_root={folder}' for split in ('train', 'val', 'test')]
    status, text, _ = tool('check_data.py', 'configs/small/upernet_deit_t_camvid.py', '--cfg-options', *options)
    assert status == 0 and '46 items' in text and '13 items, 13 decoded, 0 problems' in text
