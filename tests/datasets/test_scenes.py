"""The embedded scenes: deterministic, consistent over the three layouts, and careful with other people's files."""
import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cait_mm.datasets.scenes import CLASSES, PALETTE, SCENE_KINDS, THING_CLASSES, draw_scene, make_scenes, preview
from cait_mm.datasets.scenes import layouts as scenes
from cait_mm.datasets.scenes.plan import plan_scene, render_plan
from cait_mm.datasets.scenes.things import Thing
from cait_mm.errors import UserError

ROOT = Path(__file__).parents[2]
ARGUMENTS = dict(train=16, val=8, size=(64, 80), seed=3)
FOLDERS = dict(train='training', val='validation')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A finished set of 16 + 8 scenes; read-only."""
    root = tmp_path_factory.mktemp('made') / 'scenes'
    meta = make_scenes(root, **ARGUMENTS)
    return root, meta


@pytest.fixture
def quick(monkeypatch):
    """Replace the drawing by one flat picture per kind, for tests of the files alone."""
    def draw(index, split='train', size=(256, 256), seed=0):
        semantic = np.zeros(size, np.uint8)
        semantic[8:16, 8:24] = CLASSES.index('car')
        return scenes.Scene(np.full((*size, 3), index % 200, np.uint8), semantic, (semantic > 0).astype(np.int32),
                            (CLASSES.index('car'),), SCENE_KINDS[index % len(SCENE_KINDS)])
    monkeypatch.setattr(scenes, 'draw_scene', draw)


def contents(root: Path) -> dict:
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob('*')) if path.is_file()}


def test_same_arguments_same_bytes(made, tmp_path):
    make_scenes(tmp_path / 'again', **ARGUMENTS)
    assert contents(tmp_path / 'again') == contents(made[0])


def test_scenes_do_not_depend_on_how_many_are_made(made, tmp_path):
    make_scenes(tmp_path / 'fewer', **{**ARGUMENTS, 'train': 8})
    fewer, more = contents(tmp_path / 'fewer'), contents(made[0])
    pictures = [name for name in fewer if name.endswith(('.jpg', '.png'))]
    assert len(pictures) == 3 * (8 + 8)
    assert all(fewer[name] == more[name] for name in pictures)


def test_seed_split_and_index_each_change_the_scene():
    pixels = {draw_scene(index, split, (48, 48), seed).image.tobytes()
              for index, split, seed in ((0, 'train', 0), (8, 'train', 0), (0, 'val', 0), (0, 'train', 1))}
    assert len(pixels) == 4


@pytest.mark.parametrize('index', range(len(SCENE_KINDS)))
def test_instances_are_the_things_of_the_semantic_map(index):
    scene = draw_scene(index, 'train', (96, 72), 1)
    assert scene.image.shape == (96, 72, 3) and scene.image.dtype == np.uint8
    assert scene.semantic.max() < len(CLASSES)
    things = [CLASSES.index(name) for name in THING_CLASSES]
    expected = np.where(np.isin(scene.semantic, things), scene.semantic, 0)
    by_number = np.array([0, *scene.categories])
    assert scene.instance.max() == len(scene.categories)
    np.testing.assert_array_equal(by_number[scene.instance], expected)
    sizes = np.bincount(scene.instance.ravel(), minlength=len(by_number))[1:]
    assert (sizes >= 0.001 * scene.instance.size).all()


def test_things_nobody_can_see_are_left_out():
    plan = plan_scene(np.random.default_rng(0), 'meadow', 1.0)
    front, hidden, tiny = (Thing('house', 0.5, 0.9, 0.4, 1.0, 1, 1), Thing('conifer', 0.5, 0.85, 0.1, 0.9, 1, 2),
                           Thing('house', 0.1, 0.7, 0.01, 0.5, 1, 3))
    plan.things = [front, hidden, tiny]
    _, semantic, instance, categories = render_plan(plan, (64, 64), [0])
    assert plan.things == [front] and categories == (CLASSES.index('house'),)
    assert instance.max() == 1 and CLASSES.index('tree') not in semantic


def test_every_class_and_kind_occurs(made):
    root, meta = made
    labels = [np.asarray(Image.open(path)) for path in (root / 'annotations').rglob('*.png')]
    assert set(np.unique(labels)) == set(range(len(CLASSES)))
    assert meta['scene_kinds'] == list(SCENE_KINDS) == sorted(SCENE_KINDS)


def test_constants_fit_together():
    assert len(CLASSES) == len(PALETTE) == len(set(CLASSES)) == len(set(PALETTE)) == 10
    assert set(THING_CLASSES) < set(CLASSES)


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
        things = np.isin(semantic, [CLASSES.index(name) for name in THING_CLASSES])
        np.testing.assert_array_equal(drawn, np.where(things, semantic, 0))


def test_object_in_the_first_pixel_is_encoded(quick, tmp_path, monkeypatch):
    from pycocotools.coco import COCO
    draw = scenes.draw_scene

    def in_the_corner(*arguments):
        scene = draw(*arguments)
        rolled = (np.roll(labels, (-8, -8), (0, 1)) for labels in (scene.semantic, scene.instance))
        return scenes.Scene(scene.image, *rolled, scene.categories, scene.kind)
    monkeypatch.setattr(scenes, 'draw_scene', in_the_corner)
    make_scenes(tmp_path, 8, 8, (32, 32))
    coco = COCO(tmp_path / 'instances_validation.json')
    mask = coco.annToMask(coco.anns[1])
    assert mask[:8, :16].all() and mask.sum() == 8 * 16 == coco.anns[1]['area']


def dataset_of(config: str, loader: str, root: Path, scope: str):
    from importlib import import_module
    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets' / config)[loader].dataset
    cfg.data_root = f'{root}/'
    import_module(f'{scope}.utils').register_all_modules(init_default_scope=False)
    return import_module(f'{scope}.registry').DATASETS.build({**cfg, '_scope_': scope})


def test_mmseg_reads_the_set_through_the_config(made):
    pytest.importorskip('mmseg')
    root, meta = made
    dataset = dataset_of('scenes_seg.py', 'val_dataloader', root, 'mmseg')
    assert len(dataset) == meta['val'] and dataset.metainfo['classes'] == CLASSES
    sample = dataset[2]['data_samples']
    semantic = draw_scene(2, 'val', (64, 80), 3).semantic
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0].numpy(), semantic)
    train = dataset_of('scenes_seg.py', 'train_dataloader', root, 'mmseg')
    assert len(train) == meta['train'] and train[0]['inputs'].shape[0] == 3


def test_mmdet_reads_the_set_through_the_config(made):
    pytest.importorskip('mmdet')
    root, meta = made
    dataset = dataset_of('scenes_det.py', 'train_dataloader', root, 'mmdet')
    assert len(dataset) == meta['train'] and dataset.metainfo['classes'] == THING_CLASSES
    instances = dataset[0]['data_samples'].gt_instances
    names = [THING_CLASSES[label] for label in instances.labels]
    scene = draw_scene(0, 'train', (64, 80), 3)
    assert names == [CLASSES[category] for category in scene.categories]
    assert (instances.masks.areas > 0).all()
    assert len(dataset_of('scenes_det.py', 'val_dataloader', root, 'mmdet')) == meta['val']


def test_configs_repeat_the_constants():
    folder = ROOT / 'configs/_base_/datasets'
    segmentation = Config.fromfile(folder / 'scenes_seg.py').metainfo
    assert segmentation.classes == CLASSES and [tuple(colour) for colour in segmentation.palette] == list(PALETTE)
    detection = Config.fromfile(folder / 'scenes_det.py').metainfo
    assert detection.classes == THING_CLASSES
    assert detection.palette == [PALETTE[CLASSES.index(name)] for name in THING_CLASSES]


def test_image_folder_holds_every_picture_once(made):
    datasets = pytest.importorskip('torchvision.datasets')
    root, meta = made
    for split, name in FOLDERS.items():
        folder = datasets.ImageFolder(root / 'classification' / split)
        assert folder.classes == list(SCENE_KINDS) and len(folder) == meta[split]
        for path, label in folder.samples:
            assert label == int(Path(path).stem[-6:]) % len(SCENE_KINDS)
            assert os.path.samefile(path, root / 'images' / name / Path(path).name)


@pytest.mark.parametrize('broken', [('link',), ('link', 'symlink')])
def test_classification_without_links(quick, monkeypatch, tmp_path, broken):
    def refuse(*_, **__):
        raise OSError('no links on this file system')
    monkeypatch.setattr(os, 'link', refuse)
    if 'symlink' in broken:
        monkeypatch.setattr(Path, 'symlink_to', refuse)
    make_scenes(tmp_path / 'set', 8, 8, (32, 32))
    (tmp_path / 'set').rename(tmp_path / 'moved')
    pictures = list((tmp_path / 'moved/classification/train').rglob('*.jpg'))
    assert len(pictures) == 8
    for path in pictures:
        assert path.is_symlink() == (len(broken) == 1)
        assert path.read_bytes() == (tmp_path / 'moved/images/training' / path.name).read_bytes()


def test_complete_set_is_reused(quick, tmp_path, monkeypatch):
    first = make_scenes(tmp_path, 8, 8, (32, 32))
    assert first['reused'] is False
    monkeypatch.setattr(scenes, 'draw_scene', lambda *_: pytest.fail('drawn again'))
    assert make_scenes(tmp_path, 8, 8, (32, 32)) == {**first, 'reused': True}


def test_interrupted_run_is_redone(quick, tmp_path):
    def stop_early(steps, total):
        for count, step in enumerate(steps):
            if count == 5:
                raise KeyboardInterrupt
            yield step
    with pytest.raises(KeyboardInterrupt):
        make_scenes(tmp_path / 'set', 16, 8, (32, 32), progress=stop_early)
    assert not (tmp_path / 'set/meta.json').exists()
    assert make_scenes(tmp_path / 'set', 8, 8, (32, 32))['reused'] is False
    make_scenes(tmp_path / 'fresh', 8, 8, (32, 32))
    assert contents(tmp_path / 'set') == contents(tmp_path / 'fresh')


@pytest.mark.parametrize('lost', ['images/validation/scene_000003.jpg', 'annotations/training/scene_000000.png',
                                  f'classification/train/{SCENE_KINDS[1]}/scene_000001.jpg',
                                  'instances_training.json'])
def test_incomplete_set_is_redone(quick, tmp_path, lost):
    make_scenes(tmp_path, 8, 8, (32, 32))
    before = contents(tmp_path)
    (tmp_path / lost).unlink()
    assert make_scenes(tmp_path, 8, 8, (32, 32))['reused'] is False
    assert contents(tmp_path) == before


def test_other_arguments_are_refused_unless_overwritten(quick, tmp_path):
    make_scenes(tmp_path / 'set', 16, 8, (32, 32))
    before = contents(tmp_path / 'set')
    with pytest.raises(UserError, match='train 16 instead of 8, seed 0 instead of 1'):
        make_scenes(tmp_path / 'set', 8, 8, (32, 32), seed=1)
    assert contents(tmp_path / 'set') == before
    notes = [tmp_path / 'set' / name for name in ('notes.txt', 'images/training/mine.jpg',
                                                  'images/training/scene_000016.jpg')]
    for note in notes:
        note.write_text('mine')
    make_scenes(tmp_path / 'set', 8, 8, (32, 32), seed=1, overwrite=True)
    assert [note.read_text() for note in notes] == ['mine'] * 3
    for note in notes:
        note.unlink()
    make_scenes(tmp_path / 'fresh', 8, 8, (32, 32), seed=1)
    assert contents(tmp_path / 'set') == contents(tmp_path / 'fresh')


@pytest.mark.parametrize('name', ['images/a.jpg', 'instances_training.json', 'meta.json'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_files_are_never_touched(quick, tmp_path, name, overwrite):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"generator": "another"}')
    with pytest.raises(UserError, match='did not write|was not written by'):
        make_scenes(tmp_path, 8, 8, (32, 32), overwrite=overwrite)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file()] == [name]


def test_root_that_is_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='is a file'):
        make_scenes(tmp_path / 'file', 8, 8, (32, 32))


@pytest.mark.parametrize('arguments, sentence', [
    (dict(train=7), 'at least 8'), (dict(val=0), 'at least 8'), (dict(size=(16, 64)), 'between 32 and 4096'),
    (dict(size=(64, 5000)), 'between 32 and 4096'), (dict(seed=-1), 'must be 0 or more')])
def test_impossible_arguments(tmp_path, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        make_scenes(tmp_path, **{**ARGUMENTS, **arguments})
    assert not list(tmp_path.iterdir())


def test_preview_shows_eight_kinds_above_their_labels(made):
    sheet = preview(made[1])
    assert sheet.size == (8 * 80, 2 * 64)
    np.testing.assert_array_equal(np.asarray(sheet)[:64, :80], draw_scene(0, 'val', (64, 80), 3).image)


def command(monkeypatch, *arguments: str) -> int:
    """Run the tool in this process; its exit status."""
    monkeypatch.setattr(sys, 'argv', ['make_scenes.py', *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / 'tools/make_scenes.py'), run_name='__main__')
    return stopped.value.code


def test_command_in_another_process_writes_the_same_bytes(tmp_path):
    arguments = [str(tmp_path / 'set'), '--train', '8', '--val', '8', '--size', '32', '48', '--seed', '7']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONHASHSEED': '1'}
    done = subprocess.run([sys.executable, str(ROOT / 'tools/make_scenes.py'), *arguments], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '8 training and 8 validation scenes of 32x48 pixels are made' in done.stdout
    assert Image.open(tmp_path / 'set/preview.png').size == (8 * 48, 2 * 32)
    (tmp_path / 'set/preview.png').unlink()
    make_scenes(tmp_path / 'here', 8, 8, (32, 48), seed=7)
    assert contents(tmp_path / 'set') == contents(tmp_path / 'here')


def test_command_reports_json_reuses_and_refuses(monkeypatch, capsys, tmp_path):
    arguments = [str(tmp_path / 'set'), '--train', '8', '--val', '8', '--size', '32', '32', '--json']
    reused = []
    for name in ('first.json', 'second.json'):
        assert command(monkeypatch, *arguments, str(tmp_path / name)) == 0
        reused.append(json.loads((tmp_path / name).read_text())['reused'])
    assert reused == [False, True]
    capsys.readouterr()
    assert command(monkeypatch, *arguments, '-', '--seed', '1') == 2
    assert capsys.readouterr().err.startswith(f'error: {tmp_path / "set"} holds scenes made with other arguments')
    assert command(monkeypatch, *arguments, '-', '--seed', '1', '--overwrite') == 0
    assert json.loads(capsys.readouterr().out)['seed'] == 1
