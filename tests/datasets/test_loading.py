"""Loading in the middle of a run: whichever library decodes, a broken file is named."""
import json
import os
import pickle
import re
from itertools import count

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from PIL import EpsImagePlugin, Image

from cait_mm.datasets.check_contents import build_dataset
from cait_mm.datasets.loading import GuardedLoading, guard, read_size
from cait_mm.engine.runner import CheckedRunner
from cait_mm.errors import UserError

BROKEN = {
    'empty': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('moved permanently'),
    'cut': lambda path: path.write_bytes(path.read_bytes()[:-40]),
    'pipe': lambda path: (path.unlink(), os.mkfifo(path)),
    'folder': lambda path: (path.unlink(), path.mkdir()),
    'gone': lambda path: path.unlink(),
    'postscript': lambda path: path.write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n'),
    'header': lambda path: path.write_bytes(path.read_bytes()[:20]),
}


@pytest.fixture
def folder(tmp_path):
    """Three pictures and their label maps, and the same as COCO's."""
    random = np.random.default_rng(0)
    for kind in ('img', 'ann'):
        (tmp_path / kind).mkdir()
    for name in 'abc':
        Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / 'img' / f'{name}.jpg')
        Image.fromarray(random.integers(0, 2, (24, 32), dtype=np.uint8)).save(tmp_path / 'ann' / f'{name}.png')
    images = [dict(id=index, file_name=f'{name}.jpg', height=24, width=32) for index, name in enumerate('abc')]
    boxes = [dict(id=index, image_id=index, category_id=1, bbox=[2, 2, 8, 8], area=64, iscrowd=0) for index in range(3)]
    (tmp_path / 'coco.json').write_text(json.dumps(
        dict(images=images, annotations=boxes, categories=[dict(id=1, name='thing')])))
    return tmp_path


SCOPES = count()
PACK = {'mmseg': 'PackSegInputs', 'mmdet': 'PackDetInputs'}


def dataset_of(library, folder, **changes):
    pytest.importorskip(f'{library}.utils').register_all_modules(init_default_scope=False)
    DefaultScope.get_instance(f'loading-{next(SCOPES)}', scope_name=library)
    loading = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', **(
        dict(with_bbox=True) if library == 'mmdet' else {}))]
    pipeline = [*loading, dict(type=PACK[library], meta_keys=('img_path', ))]
    if library == 'mmseg':
        node = dict(type='BaseSegDataset', data_prefix=dict(img_path='img', seg_map_path='ann'),
                    metainfo=dict(classes=('a', 'b')))
    else:
        node = dict(type='CocoDataset', data_prefix=dict(img='img'), ann_file='coco.json',
                    metainfo=dict(classes=('thing', )))
    return dict(node, data_root=str(folder), pipeline=pipeline, serialize_data=False, **changes)


def loader_of(node, workers=0, training=True):
    return CheckedRunner.build_dataloader(dict(
        dataset=dict(node, test_mode=not training), batch_size=1, num_workers=workers,
        sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='pseudo_collate')), seed=0)


@pytest.mark.parametrize('library', PACK)
def test_a_guard_does_not_change_good_files(folder, library):
    node = dataset_of(library, folder)
    plain, guarded = DATASETS.build(node), loader_of(node).dataset
    for one, other in zip(plain, guarded):
        assert one['inputs'].equal(other['inputs'])
        assert one['data_samples'].keys() == other['data_samples'].keys()
    assert [type(step) for step in guarded.pipeline.transforms[:2]] == [GuardedLoading] * 2
    assert guard(guarded) is guarded and type(guarded.pipeline.transforms[0].loader) is not GuardedLoading
    assert pickle.loads(pickle.dumps(guarded))[1]['inputs'].equal(plain[1]['inputs'])


@pytest.mark.parametrize('damage', BROKEN)
@pytest.mark.parametrize('library', PACK)
def test_a_broken_picture_in_the_middle_is_named(folder, library, damage):
    BROKEN[damage](folder / 'img' / 'b.jpg')
    (folder / 'list.txt').write_text('a\nb\nc\n')  # without one MMSeg passes over what is no file
    changes = dict(ann_file='list.txt') if library == 'mmseg' else {}
    loaders = [loader_of(dataset_of(library, folder, **changes), training=training) for training in (True, False)]
    for loader in loaders:
        with pytest.raises(UserError, match=r'img/b\.jpg') as raised:
            list(loader)
        assert '\n' not in str(raised.value)


@pytest.mark.parametrize('damage', [name for name in BROKEN if name != 'cut'])
def test_a_broken_label_map_is_named(folder, damage):
    BROKEN[damage](folder / 'ann' / 'b.png')
    with pytest.raises(UserError, match=r'ann/b\.png'):
        list(loader_of(dataset_of('mmseg', folder)))


@pytest.mark.parametrize('library', PACK)
def test_a_workers_sentence_is_whole(folder, library):
    BROKEN['text'](folder / 'img' / 'b.jpg')
    with pytest.raises(UserError) as raised:
        list(loader_of(dataset_of(library, folder), workers=1))
    assert re.search(r'UserError: picture .*img/b\.jpg cannot be read \(damaged, or no picture\): remove it or get it '
                     r'again\.\s*$', str(raised.value))


@pytest.mark.parametrize('mask, said', [
    ([[2, 2, 9, 'nine', 9, 2]], ''), (dict(size=[24, 32], counts='no code'), 'its compressed RLE is damaged'),
    (dict(size=[24, 32], counts=[7]), 'its RLE has 7 pixels and the picture 768')])
def test_annotations_that_cannot_become_masks_name_their_picture(folder, mask, said):
    content = json.loads((folder / 'coco.json').read_text())
    for item, drawn in zip(content['annotations'], ([[2, 2, 9, 2, 9, 9]], mask, [[2, 2, 9, 2, 9, 9]])):
        item['segmentation'] = drawn
    (folder / 'coco.json').write_text(json.dumps(content))
    node = dataset_of('mmdet', folder)
    node['pipeline'][1]['with_mask'] = True
    with pytest.raises(UserError, match=rf'annotations of picture .*img/b\.jpg cannot be read \(.*{said}'):
        list(loader_of(node))


def test_no_label_map_is_run(folder, ghostscript, monkeypatch):
    node = dataset_of('mmseg', folder)
    node['pipeline'][0]['imdecode_backend'] = 'pillow'
    guarded = loader_of(node).dataset
    # as in a process that was started afresh, where nobody has told Pillow
    monkeypatch.setitem(Image.OPEN, 'EPS', (EpsImagePlugin.EpsImageFile, EpsImagePlugin._accept))
    for path in (folder / 'ann' / 'b.png', folder / 'img' / 'b.jpg'):
        BROKEN['postscript'](path)
        with pytest.raises(UserError, match='it is PostScript'):
            guarded[1]
    assert not ghostscript.exists()


@pytest.mark.parametrize('wrap', [
    lambda node: dict(type='RepeatDataset', dataset=node, times=2),
    lambda node: dict(type='ConcatDataset', datasets=[node, node]),
    lambda node: dict(node, pipeline=[node['pipeline'][0], dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)], [dict(type='LoadAnnotations')],
        [dict(type='PackSegInputs')]])])])
def test_datasets_inside_others_are_guarded(folder, wrap):
    node = dataset_of('mmseg', folder)
    BROKEN['text'](folder / 'ann' / 'b.png')
    dataset = guard(DATASETS.build(wrap(node)))
    with pytest.raises(UserError, match=r'label map .*ann/b\.png of picture .*b\.jpg cannot be read'):
        [dataset[index] for index in range(len(dataset))]


def test_a_transform_that_passes_over_empty_pictures_may(folder):
    node = dataset_of('mmseg', folder)
    node['pipeline'][0]['ignore_empty'] = True
    BROKEN['empty'](folder / 'img' / 'b.jpg')
    dataset = guard(DATASETS.build(node))
    assert dataset[1]['data_samples'].img_path != str(folder / 'img' / 'b.jpg')


@pytest.mark.parametrize('size', [(24, 30), (12, 16), (24, 32, 3)])
def test_a_label_map_of_another_size_is_named(folder, size):
    Image.fromarray(np.zeros(size, np.uint8)).save(folder / 'ann' / 'b.png')
    dataset, sides = guard(DATASETS.build(dataset_of('mmseg', folder))), 'x'.join(map(str, size))
    with pytest.raises(UserError, match=f'ann/b.png of picture .*it is {sides} and the picture 24x32'):
        dataset[1]


def test_a_library_transform_with_an_impossible_setting_names_itself_and_the_picture(folder):
    dataset = DATASETS.build(dataset_of('mmseg', folder))
    resize = TRANSFORMS.build(dict(type='Resize', scale=(8, 8), keep_ratio=True))
    resize.scale = [8, 8]
    dataset.pipeline.transforms.insert(2, resize)
    with pytest.raises(UserError, match=r'Resize of the dataset.s pipeline fails on picture .*b.jpg \(Scale must be'):
        guard(dataset)[1]
    again = pickle.loads(pickle.dumps(guard(DATASETS.build(dataset_of('mmseg', folder))).pipeline))
    assert len(again.transforms) == 3


def test_a_bug_in_another_transform_keeps_its_type(folder):
    class Wrong:
        def __call__(self, results):
            raise ZeroDivisionError

    dataset = guard(BaseDataset(serialize_data=False, lazy_init=True, pipeline=[Wrong()]))
    with pytest.raises(ZeroDivisionError):
        dataset.pipeline({})


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_a_list_may_begin_with_a_byte_order_mark(folder, encoding):
    (folder / 'list.txt').write_bytes('a\r\nb\r\n'.encode(encoding))
    dataset = loader_of(dataset_of('mmseg', folder, ann_file='list.txt', img_suffix='.jpg')).dataset
    assert [dataset.get_data_info(index)['img_path'] for index in (0, 1)] == [
        str(folder / 'img' / f'{name}.jpg') for name in 'ab']
    assert len(dataset) == 2 and dataset[1]['inputs'].shape == (3, 24, 32)


def test_a_list_of_another_encoding_is_a_sentence(folder):
    (folder / 'list.txt').write_bytes('a\nä\n'.encode('latin-1'))
    with pytest.raises(UserError, match=r'list.txt is no UTF-8 text \(byte 2\)'):
        loader_of(dataset_of('mmseg', folder, ann_file='list.txt', img_suffix='.jpg'))


@pytest.mark.parametrize('colour, size', [('color', (32, 24)), ('color_ignore_orientation', (24, 32))])
def test_sizes_are_those_that_the_pipeline_reads(folder, colour, size):
    exif = Image.Exif()
    exif[274] = 6
    Image.new('RGB', (32, 24)).save(folder / 'img' / 'a.jpg', exif=exif)
    node = dataset_of('mmseg', folder)
    node['pipeline'] = [dict(type='LoadImageFromFile', color_type=colour)]
    dataset = build_dataset(node, Config())
    assert read_size(dataset, dataset.get_data_info(0)) == size


@pytest.mark.parametrize('orientation, size', [(3, (24, 32)), (6, (32, 24)), (8, (32, 24))])
def test_check_data_takes_the_labels_of_a_turned_picture_as_training_does(tool, folder, orientation, size):
    exif = Image.Exif()
    exif[274] = orientation
    Image.new('RGB', (32, 24), 'red').save(folder / 'img' / 'a.jpg', exif=exif)
    config = folder / 'config.py'
    dataset = dataset_of('mmseg', folder)
    config.write_text(f"default_scope = 'mmseg'\ntrain_dataloader = dict(dataset={dataset!r})\n")
    for labels in ((24, 32), (32, 24)):
        Image.fromarray(np.arange(labels[0] * labels[1], dtype=np.uint8).reshape(labels) % 2).save(
            folder / 'ann' / 'a.png')
        status, out, err = tool('check_data.py', config)
        assert (f'a.png is {labels[0]}x{labels[1]}, its picture {size[0]}x{size[1]}' in out) == (labels != size), out
        assert status == (0 if labels == size else 2), out + err
