"""The embedded scenes: deterministic, consistent over the three layouts, and careful with other people's files."""
import hashlib
import json
import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from mmengine.config import Config
from PIL import Image

from cait_mm.datasets.scenes import CLASSES, PALETTE, SCENE_KINDS, THING_CLASSES, draw_scene, layouts, make_scenes
from cait_mm.datasets.scenes.composition import KINDS, Composition, Thing
from cait_mm.datasets.scenes.drawing import Scene, draw_composition
from cait_mm.errors import UserError

ARGUMENTS = dict(train=16, val=8, size=(64, 80), seed=3)
SMALL = dict(train=8, val=8, size=(32, 32))
FOLDERS = dict(train='training', val='validation')
THING_IDS = [CLASSES.index(name) for name in THING_CLASSES]
DIGEST = '9fd811acf6f62689e55e03991d77115ff0cdb54dc8e22910ae6b8aadcf3ed3d3'
MEANS = [101.460, 117.645, 160.642, 145.161, 149.505, 115.811, 151.947, 86.972]
"""Of the labels and the pictures of eight scenes of version 2."""


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A finished set of 16 + 8 scenes; read-only."""
    root = tmp_path_factory.mktemp('made') / 'scenes'
    meta = make_scenes(root, **ARGUMENTS)
    return root, meta


@pytest.fixture
def quick(monkeypatch):
    """Replace the drawing by one car in the corner of a flat picture, for tests of the files alone."""
    def draw(index, split='train', size=(256, 256), seed=0):
        semantic = np.zeros(size, np.uint8)
        semantic[:8, :16] = CLASSES.index('car')
        return Scene(np.full((*size, 3), (index + 100 * seed) % 200, np.uint8), semantic,
                     (semantic > 0).astype(np.int32), (CLASSES.index('car'),))
    monkeypatch.setattr(layouts, 'draw_scene', draw)


def contents(root: Path) -> dict:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob('*')) if path.is_file()}


def test_scenes_do_not_depend_on_the_process_or_on_how_many_are_made(made, tmp_path):
    root = tmp_path / 'fewer'
    words = [ROOT / 'tools/make_scenes.py', root, *['--train', '8', '--val', '8', '--size', '64', '80', '--seed', '3']]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONHASHSEED': '1'}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '8 training and 8 validation scenes of 64x80 pixels are made' in done.stdout
    fewer, more = contents(root), contents(made[0])
    pictures = [name for name in fewer if name.endswith(('.jpg', '.png'))]
    assert len(pictures) == 3 * (8 + 8) + 1
    assert all(fewer[name] == more[name] for name in [*pictures, 'instances_validation.json'])


def test_seed_split_and_index_each_change_the_scene():
    pixels = {draw_scene(index, split, (48, 48), seed).image.tobytes()
              for index, split, seed in ((0, 'train', 0), (8, 'train', 0), (0, 'val', 0), (0, 'train', 1))}
    assert len(pixels) == 4


def test_version_2_draws_the_scenes_that_were_measured():
    """Raise ``GENERATOR_VERSION`` if they change. Labels are exact; the last bit of a picture may depend on the CPU."""
    scenes = [draw_scene(index, 'val', (64, 80), 3) for index in range(8)]
    labels = b''.join(labels.tobytes() for scene in scenes for labels in (scene.semantic, scene.instance))
    assert layouts.GENERATOR_VERSION == 2 and hashlib.sha256(labels).hexdigest() == DIGEST
    assert [scene.image.mean() for scene in scenes] == pytest.approx(MEANS, abs=0.01)


@pytest.mark.parametrize('index', range(len(SCENE_KINDS)))
def test_instances_are_the_things_of_the_semantic_map(index):
    scene = draw_scene(index, 'train', (96, 72), 1)
    assert scene.image.shape == (96, 72, 3) and scene.image.dtype == np.uint8
    assert scene.semantic.max() < len(CLASSES) and scene.instance.max() == len(scene.categories)
    expected = np.where(np.isin(scene.semantic, THING_IDS), scene.semantic, 0)
    np.testing.assert_array_equal(np.array([0, *scene.categories])[scene.instance], expected)
    assert (np.bincount(scene.instance.ravel())[1:] >= 0.001 * scene.instance.size).all()


def test_things_nobody_can_see_are_left_out():
    rng = np.random.default_rng(0)
    composition = Composition(KINDS['meadow'], rng, 1.0)
    front = Thing('house', 0.5, 0.9, 0.4, 1.0, 1)
    composition.things = [Thing('car', 0.5, 0.85, 0.1, 0.9, 2), Thing('house', 0.1, 0.7, 0.01, 0.5, 3), front]
    scene = draw_composition(composition, (64, 64), rng)
    assert composition.things == [front] and scene.categories == (CLASSES.index('house'),)
    assert scene.instance.max() == 1 and CLASSES.index('car') not in scene.semantic


def test_labels_lie_on_the_pixels_that_were_drawn():
    """A house in front of everything differs from the same land without it at its own pixels, shadow aside."""
    def drawn(things):
        composition = Composition(KINDS['meadow'], np.random.default_rng(0), 1.0)
        composition.things = things
        return draw_composition(composition, (96, 96), np.random.default_rng(1))
    without, scene = drawn([]), drawn([Thing('house', 0.5, 0.8, 0.5, 1.0, 1)])
    changed = np.abs(scene.image.astype(int) - without.image).max(2) > 40
    house = scene.instance == 1
    assert changed[house].mean() > 0.8 and (changed & ~house)[:70].mean() < 0.01


def test_every_class_and_kind_occurs(made):
    root, meta = made
    labels = [np.asarray(Image.open(path)) for path in (root / 'annotations').rglob('*.png')]
    assert set(np.unique(labels)) == set(range(len(CLASSES))) and len(set(PALETTE)) == len(CLASSES) == 10
    assert meta['scene_kinds'] == list(SCENE_KINDS) == sorted(SCENE_KINDS)


def test_label_files_are_indices_with_the_palette(made):
    picture = Image.open(made[0] / 'annotations/training/scene_000000.png')
    assert picture.mode == 'P'
    assert tuple(picture.getpalette()[:30]) == tuple(channel for colour in PALETTE for channel in colour)
    np.testing.assert_array_equal(np.asarray(picture), draw_scene(0, 'train', (64, 80), 3).semantic)


@pytest.mark.parametrize('split', FOLDERS)
def test_coco_file_loads_and_matches_the_semantic_map(made, split):
    from pycocotools.coco import COCO
    root, meta = made
    coco = COCO(root / f'instances_{FOLDERS[split]}.json')
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == list(THING_CLASSES)
    assert len(coco.imgs) == meta[split] and len(coco.anns) > meta[split]
    for image_id, image in coco.imgs.items():
        semantic = np.asarray(Image.open(root / 'annotations' / FOLDERS[split] / f'{image["file_name"][:-4]}.png'))
        assert (image['height'], image['width']) == semantic.shape == (64, 80)
        drawn = np.zeros_like(semantic)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(mask)
            assert annotation['area'] == mask.sum() and annotation['iscrowd'] == 0
            assert annotation['bbox'] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert not drawn[mask].any(), 'masks overlap'
            drawn[mask] = CLASSES.index(THING_CLASSES[annotation['category_id'] - 1])
        np.testing.assert_array_equal(drawn, np.where(np.isin(semantic, THING_IDS), semantic, 0))


def dataset_of(config: str, loader: str, root: Path, scope: str):
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets' / config)[loader].dataset
    cfg.data_root = f'{root}/'
    import_module(f'{scope}.utils').register_all_modules(init_default_scope=False)
    return import_module(f'{scope}.registry').DATASETS.build({**cfg, '_scope_': scope})


def test_mmseg_reads_the_set_through_the_config(made):
    pytest.importorskip('mmseg')
    root, meta = made
    dataset = dataset_of('scenes_seg.py', 'val_dataloader', root, 'mmseg')
    assert len(dataset) == meta['val'] and dataset.metainfo['classes'] == CLASSES
    assert [tuple(colour) for colour in dataset.metainfo['palette']] == list(PALETTE)
    np.testing.assert_array_equal(dataset[2]['data_samples'].gt_sem_seg.data[0].numpy(),
                                  draw_scene(2, 'val', (64, 80), 3).semantic)
    train = dataset_of('scenes_seg.py', 'train_dataloader', root, 'mmseg')
    assert len(train) == meta['train'] and train[0]['inputs'].shape[0] == 3


def test_mmdet_reads_the_set_through_the_config(made):
    pytest.importorskip('mmdet')
    root, meta = made
    dataset = dataset_of('scenes_det.py', 'train_dataloader', root, 'mmdet')
    assert len(dataset) == sum(bool(draw_scene(index, 'train', (64, 80), 3).categories) for index in range(16))
    assert dataset.metainfo['classes'] == THING_CLASSES
    assert dataset.metainfo['palette'] == [PALETTE[index] for index in THING_IDS]
    instances, scene = dataset[0]['data_samples'].gt_instances, draw_scene(0, 'train', (64, 80), 3)
    assert [THING_IDS[label] for label in instances.labels] == list(scene.categories)
    resized = np.bincount(scene.instance.ravel())[1:] * (192 / 80)**2
    assert instances.masks.areas == pytest.approx(resized, rel=0.1)
    assert len(dataset_of('scenes_det.py', 'val_dataloader', root, 'mmdet')) == meta['val']


def test_image_folder_holds_every_picture_once(made):
    datasets = pytest.importorskip('torchvision.datasets')
    root, meta = made
    for split, name in FOLDERS.items():
        folder = datasets.ImageFolder(root / 'classification' / split)
        assert folder.classes == list(SCENE_KINDS) and len(folder) == meta[split]
        for path, label in folder.samples:
            assert label == int(Path(path).stem[-6:]) % len(SCENE_KINDS)
            assert os.path.samefile(path, root / 'images' / name / Path(path).name)


def test_classification_without_hard_links(quick, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError('no links on this file system')
    make_scenes(tmp_path / 'links', **SMALL)
    monkeypatch.setattr(os, 'link', refuse)
    make_scenes(tmp_path / 'copies', **SMALL)
    assert contents(tmp_path / 'links') == contents(tmp_path / 'copies')


def test_complete_set_is_reused_despite_other_files(quick, tmp_path, monkeypatch):
    first = make_scenes(tmp_path, **SMALL)
    assert first['reused'] is False
    (tmp_path / 'notes.txt').write_text('mine')
    monkeypatch.setattr(layouts, 'draw_scene', lambda *_: pytest.fail('drawn again'))
    assert make_scenes(tmp_path, **SMALL) == {**first, 'reused': True}


@pytest.mark.parametrize('overwrite', [False, True])
def test_interrupted_run_leaves_earlier_files(quick, tmp_path, overwrite):
    def stop_early(steps):
        yield from steps[:5]
        raise KeyboardInterrupt
    if overwrite:
        make_scenes(tmp_path / 'set', **SMALL)
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path / 'set', **SMALL, seed=1, overwrite=overwrite, progress=stop_early)
    assert contents(tmp_path) == before


def test_leftovers_of_a_killed_process_do_no_harm(quick, tmp_path):
    for folder in ('new', 'old'):
        (tmp_path / '.set.unfinished' / folder / 'images').mkdir(parents=True)
    make_scenes(tmp_path / 'set', **SMALL)
    make_scenes(tmp_path / 'fresh', **SMALL)
    assert contents(tmp_path / 'set') == contents(tmp_path / 'fresh')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['fresh', 'set']


@pytest.mark.parametrize('lost', ['images/validation/scene_000003.jpg', 'annotations/training/scene_000000.png',
                                  f'classification/train/{SCENE_KINDS[1]}/scene_000001.jpg', 'preview.png',
                                  'instances_training.json'])
def test_incomplete_set_is_redone(quick, tmp_path, lost):
    (tmp_path / 'link').symlink_to('set')
    make_scenes(tmp_path / 'link', **SMALL)
    before = contents(tmp_path / 'set')
    (tmp_path / 'set' / lost).unlink()
    assert make_scenes(tmp_path / 'link', **SMALL)['reused'] is False
    assert contents(tmp_path / 'set') == before and (tmp_path / 'link').is_symlink()


def test_other_arguments_are_refused_unless_overwritten(quick, tmp_path):
    make_scenes(tmp_path / 'set', 16, 8, (32, 32))
    before = contents(tmp_path)
    with pytest.raises(UserError, match='train 16 instead of 8, seed 0 instead of 1'):
        make_scenes(tmp_path / 'set', **SMALL, seed=1)
    for name in ('notes.txt', 'images/training/scene_000016.jpg'):
        (tmp_path / 'set' / name).write_text('mine')
        with pytest.raises(UserError, match=f'did not write {name}'):
            make_scenes(tmp_path / 'set', **SMALL, seed=1, overwrite=True)
        (tmp_path / 'set' / name).unlink()
    assert contents(tmp_path) == before
    make_scenes(tmp_path / 'set', **SMALL, seed=1, overwrite=True)
    make_scenes(tmp_path / 'fresh', **SMALL, seed=1)
    assert contents(tmp_path / 'set') == contents(tmp_path / 'fresh')


@pytest.mark.parametrize('name,text', [('images/a.jpg', ''), ('meta.json', '{"generator": "another"}'),
                                       ('meta.json', '[]'), ('meta.json', 'x'), ('instances_training.json', '{}')])
@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_folder_is_never_touched(quick, tmp_path, name, text, overwrite):
    path = tmp_path / 'set' / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match='was not written by'):
        make_scenes(tmp_path / 'set', **SMALL, overwrite=overwrite)
    assert list(contents(tmp_path)) == [f'set/{name}'] and path.read_text() == text


def test_root_that_is_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='is a file'):
        make_scenes(tmp_path / 'file', **SMALL)


@pytest.mark.parametrize('arguments, sentence', [
    (dict(train=7), 'at least 8'), (dict(val=0), 'at least 8'), (dict(train=10**7), 'at most 1000000'),
    (dict(size=(16, 64)), 'between 32 and 4096'), (dict(size=(64, 5000)), 'between 32 and 4096'),
    (dict(seed=-1), 'must be 0 or more')])
def test_impossible_arguments(tmp_path, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        make_scenes(tmp_path, **{**ARGUMENTS, **arguments})
    assert not list(tmp_path.iterdir())


def test_preview_shows_eight_kinds_above_their_labels(made):
    sheet = np.asarray(Image.open(made[0] / 'preview.png'))
    assert sheet.shape == (2 * 64, 8 * 80, 3)
    scene = draw_scene(0, 'val', (64, 80), 3)
    np.testing.assert_array_equal(sheet[:64, :80], scene.image)
    np.testing.assert_array_equal(sheet[64:, :80], np.array(PALETTE)[scene.semantic])


def command(monkeypatch, *arguments: str) -> int:
    """Run the tool in this process; its exit status."""
    monkeypatch.setattr(sys, 'argv', ['make_scenes.py', *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / 'tools/make_scenes.py'), run_name='__main__')
    return stopped.value.code


def test_command_reports_json_reuses_and_refuses(monkeypatch, capsys, tmp_path):
    arguments = [str(tmp_path / 'set'), '--train', '8', '--val', '8', '--size', '32', '32', '--json']
    for name, reused in (('first.json', False), ('second.json', True)):
        assert command(monkeypatch, *arguments, str(tmp_path / name)) == 0
        assert json.loads((tmp_path / name).read_text())['reused'] is reused
    capsys.readouterr()
    assert command(monkeypatch, *arguments, '-', '--seed', '1') == 2
    assert f'\nerror: {tmp_path / "set"} holds scenes made with other arguments' in capsys.readouterr().err
    assert command(monkeypatch, *arguments, '-', '--seed', '1', '--overwrite') == 0
    assert json.loads(capsys.readouterr().out)['seed'] == 1
