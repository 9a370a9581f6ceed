"""Missing data of a config are reported in sentences, one per path."""
import json
import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cait_mm.datasets.check_files import missing_data, require_data
from cait_mm.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs/_base_/datasets'


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('')


def config(dataset: dict, loader: str = 'train_dataloader') -> Config:
    return Config({loader: dict(dataset=dataset)})


SEGMENTATION = dict(type='BaseSegDataset', data_root='data/x', data_prefix=dict(img_path='img', seg_map_path='ann'))


@pytest.mark.parametrize('name, anchor, paths', [
    ('ade20k.py', 'ade20k', 4), ('camvid.py', 'camvid', 6), ('scenes_seg.py', 'scenes', 4),
    ('scenes_det.py', 'scenes', 4), ('acdc.py', 'acdc', 2), ('synapse.py', 'synapse', 2), ('polyp.py', 'polyp', 4)])
def test_every_base_config_points_at_a_section_of_the_page(here, name, anchor, paths):
    sentences = missing_data(Config.fromfile(CONFIGS / name))
    assert len(sentences) == len(set(sentences)) == paths
    page = (ROOT / 'docs/prepare_data.md').read_text().lower()
    for sentence in sentences:
        assert f'docs/prepare_data.md#{anchor}.' in sentence
    assert f'\n## {anchor}\n' in page


def test_sentence_names_the_path_and_all_loaders(here):
    cfg = Config.fromfile(CONFIGS / 'ade20k.py')
    root = 'data/ade/ADEChallengeData2016'
    fill(f'{root}/images/training/a.jpg', f'{root}/annotations/training/a.png', f'{root}/annotations/validation/a.png')
    assert missing_data(cfg) == [
        'The folder data/ade/ADEChallengeData2016/images/validation does not exist or is empty '
        '(val_dataloader and test_dataloader): see docs/prepare_data.md#ade20k.']
    assert missing_data(cfg, loaders=['train_dataloader']) == []
    fill(f'{root}/images/validation/a.jpg')
    assert missing_data(cfg) == []


def test_empty_folder_and_file_in_its_place_count_as_missing(here):
    Path('data/x/img').mkdir(parents=True)
    fill('data/x/ann')
    assert [sentence.split()[2] for sentence in missing_data(config(SEGMENTATION))] == ['data/x/img', 'data/x/ann']


def test_annotation_file_is_joined_with_the_root_and_empty_is_ignored(here):
    fill('data/x/img/a', 'data/x/ann/a')
    assert missing_data(config({**SEGMENTATION, 'ann_file': ''})) == []
    assert missing_data(config({**SEGMENTATION, 'ann_file': 'splits/train.txt'})) == [
        'The annotation file data/x/splits/train.txt does not exist (train_dataloader): see docs/prepare_data.md.']
    fill('data/x/splits/train.txt')
    assert missing_data(config({**SEGMENTATION, 'ann_file': 'splits/train.txt'})) == []


def test_absolute_paths_win_over_the_root(here):
    fill('elsewhere/img/a', 'data/x/ann/a', 'elsewhere/list.txt')
    dataset = {**SEGMENTATION, 'data_prefix': dict(img_path=str(here / 'elsewhere/img'), seg_map_path='ann'),
               'ann_file': str(here / 'elsewhere/list.txt')}
    assert missing_data(config(dataset)) == []
    os.remove('elsewhere/list.txt')
    assert str(here / 'elsewhere/list.txt') in missing_data(config(dataset))[0]


@pytest.mark.parametrize('wrap', [
    lambda dataset: dict(type='RepeatDataset', times=2, dataset=dataset),
    lambda dataset: dict(type='ConcatDataset', datasets=[dataset]),
    lambda dataset: dict(type='ClassBalancedDataset', oversample_thr=0.1,
                         dataset=dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=dataset)])),
    lambda dataset: [dataset]])
def test_wrappers_are_followed(here, wrap):
    assert len(missing_data(config(wrap(SEGMENTATION)))) == 2
    fill('data/x/img/a', 'data/x/ann/a')
    assert missing_data(config(wrap(SEGMENTATION))) == []


def test_each_part_of_a_concatenation_is_checked(here):
    fill('data/x/img/a', 'data/x/ann/a')
    other = {**SEGMENTATION, 'data_root': 'data/y'}
    sentences = missing_data(config(dict(type='ConcatDataset', datasets=[SEGMENTATION, other])))
    assert [sentence.split()[2] for sentence in sentences] == ['data/y/img', 'data/y/ann']


def test_without_prefix_the_root_itself_is_wanted(here):
    dataset = dict(type='CustomDataset', data_root='data/imagenet/train')
    assert missing_data(config(dataset)) == [
        'The folder data/imagenet/train does not exist or is empty (train_dataloader): '
        'see docs/prepare_data.md#imagenet.']
    fill('data/imagenet/train/n0/a.jpg')
    assert missing_data(config(dataset)) == []
    assert missing_data(config({**dataset, 'data_prefix': 'val'})) != []


def test_scenes_say_how_to_make_them(here):
    sentences = missing_data(Config.fromfile(CONFIGS / 'scenes_det.py'))
    assert all('python tools/make_scenes.py data/scenes,' in sentence for sentence in sentences)
    assert 'The annotation file data/scenes/instances_training.json does not exist' in sentences[1]


def test_nothing_to_check(here):
    assert missing_data(Config(dict(train_dataloader=None, val_dataloader=dict(batch_size=1)))) == []
    remote = {**SEGMENTATION, 'data_root': 's3://bucket/x'}
    assert missing_data(config(remote)) == []
    assert missing_data(config({**SEGMENTATION, 'data_prefix': dict(img=None)})) == []


def test_camvid_void_becomes_the_default_ignore_index(here):
    mmseg_datasets = pytest.importorskip('mmseg.registry').DATASETS
    pytest.importorskip('mmseg.utils').register_all_modules(init_default_scope=False)
    labels = np.arange(12, dtype=np.uint8).repeat(40).reshape(12, 40)
    for folder in ('train', 'trainannot', 'val', 'valannot', 'test', 'testannot'):
        (here / 'data/camvid' / folder).mkdir(parents=True)
        picture = labels if folder.endswith('annot') else np.zeros((12, 40, 3), np.uint8)
        Image.fromarray(picture).save(here / 'data/camvid' / folder / 'a.png')
    cfg = Config.fromfile(CONFIGS / 'camvid.py')
    assert missing_data(cfg) == []
    dataset = mmseg_datasets.build({**cfg.val_dataloader.dataset, '_scope_': 'mmseg'})
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette']) == 11
    loaded = dataset[0]['data_samples'].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(loaded, np.where(labels == 11, 255, labels))
    train = mmseg_datasets.build({**cfg.train_dataloader.dataset, '_scope_': 'mmseg'})
    seen = np.unique(np.concatenate([train[0]['data_samples'].gt_sem_seg.data.numpy().ravel() for _ in range(5)]))
    assert 11 not in seen and len(seen) > 1


def test_the_sentence_before_a_run_names_one_path_and_counts_the_rest(tmp_path):
    cfg = dict(train_dataloader=dict(dataset=dict(
        data_root=str(tmp_path / 'no'), data_prefix=dict(img_path='img', seg_map_path='ann'))))
    with pytest.raises(UserError) as error:
        require_data(cfg, 'configs/a.py')
    text = str(error.value)
    assert 'no/img' in text and 'no/ann' not in text
    assert '1 more are missing: python tools/check_data.py configs/a.py' in text
    require_data({}, 'configs/a.py')


def test_the_command_lists_files_by_split(tool, tmp_path):
    for split in ('train', 'val'):
        for folder in ('img', 'ann'):
            (tmp_path / split / folder).mkdir(parents=True)
            Image.new('L', (8, 8)).save(tmp_path / split / folder / 'a.png')
    (tmp_path / 'val' / 'img' / 'a.png').write_bytes(b'no picture')
    (tmp_path / 'val' / 'list.txt').write_text('')
    loaders = {f'{split}_dataloader': dict(dataset=dict(
        data_root=str(tmp_path / split), data_prefix=dict(img_path='img', seg_map_path='ann'),
        ann_file='list.txt' if split == 'val' else '')) for split in ('train', 'val', 'test')}
    path = tmp_path / 'config.py'
    path.write_text('\n'.join(f'{name} = {loader!r}' for name, loader in loaders.items()))
    status, out, err = tool('check_data.py', path, '--json', tmp_path / 'out.json')
    assert status == 2 and 'error' not in err
    train, val, test = out.splitlines()
    assert train == f'train: found {tmp_path}/train/img (1 entries), {tmp_path}/train/ann (1 entries)'
    assert val.startswith(f'val: found {tmp_path}/val/ann (1 entries); unreadable {tmp_path}/val/img (picture ')
    assert val.endswith('list.txt (it is empty)')
    assert test.startswith('test: missing') and 'see docs/prepare_data.md' in test
    described = json.loads((tmp_path / 'out.json').read_text())
    assert [len(described['val_dataloader'][state]) for state in ('found', 'missing', 'unreadable')] == [1, 0, 2]
    status, out, _ = tool('check_data.py', path, '--cfg-options', 'val_dataloader=None', 'test_dataloader=None')
    assert status == 0 and out.startswith('train: found')
