"""The embedded default data: drawn landscapes, labelled for segmentation, detection and classification at once.

One draw gives the picture, the semantic map, the visible part of every object and the kind of the scene, so the three
layouts of :func:`make_scenes` agree by construction. Scene ``index`` of a split depends on ``(seed, split, index)`` and
on the size alone: the same numbers give the same pixels, however many scenes are made.
"""
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cait_mm.datasets.scenes.canvas import CLASSES, PALETTE, THING_CLASSES
from cait_mm.datasets.scenes.plan import SCENE_KINDS, plan_scene, render_plan
from cait_mm.errors import UserError
from cait_mm.utils.files import write_json
from cait_mm.utils.lock import locked

# Raise it whenever a pixel or a label of any scene changes: a set of another version is refused, not reused.
GENERATOR_VERSION = 1
META = 'meta.json'
SPLITS = {'train': 'training', 'val': 'validation'}
_GENERATOR = 'cait_mm scenes'
_UNFINISHED = '.unfinished.json'
_SINGLE_FILES = ('instances_training.json', 'instances_validation.json', 'preview.png')
_FOLDERS = ('images', 'annotations', 'classification')
_SCENE_FILE = re.compile(r'scene_(\d{6,})\.(jpg|png)')
_SIDES = (32, 4096)

Progress = Callable[[Iterable, int], Iterable]


@dataclass(frozen=True)
class Scene:
    """One labelled picture of ``H x W`` pixels.

    Attributes:
        image: ``(H, W, 3)`` uint8, RGB.
        semantic: ``(H, W)`` uint8, indices into :data:`CLASSES`; every pixel has one.
        instance: ``(H, W)`` int32, 0 for background, otherwise the object's number counted from 1.
        categories: Class index of object 1, 2, ...
        kind: One of :data:`SCENE_KINDS`.
    """
    image: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray
    categories: tuple[int, ...]
    kind: str


def draw_scene(index: int, split: str = 'train', size: tuple[int, int] = (192, 192), seed: int = 0) -> Scene:
    """Draw scene ``index`` (0 or more) of ``split`` (``'train'`` or ``'val'``), ``size`` (height, width) pixels large.

    The kinds take turns, so any eight scenes in a row hold each of them once.
    """
    entropy = [seed, list(SPLITS).index(split), index]
    kind = SCENE_KINDS[index % len(SCENE_KINDS)]
    plan = plan_scene(np.random.default_rng(entropy), kind, size[1] / size[0])
    image, semantic, instance, categories = render_plan(plan, size, entropy)
    return Scene(image, semantic, instance, categories, kind)


def make_scenes(root: str | Path, train: int = 480, val: int = 80, size: tuple[int, int] = (192, 192),
                seed: int = 0, overwrite: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Write a set of scenes in three layouts, or find it already there.

    ``images/`` with ``annotations/`` (ADE20K's folders, index PNGs), ``instances_*.json`` (COCO's format, RLE masks)
    and ``classification/`` (ImageFolder, links to the same pictures). ``meta.json`` comes last: without it the set
    counts as unfinished and is made anew.

    Args:
        root: Folder of the set.
        train, val: Number of scenes; at least one of each kind.
        size: Height and width in pixels.
        seed: 0 or more.
        overwrite: Replace a set that was made with other arguments. Only files of such a set are ever removed.
        progress: Called with an iterable and its length, as ``tqdm`` is, and returns an iterable over the same.

    Returns:
        The content of ``meta.json``, and ``'reused'``: whether nothing had to be drawn.

    Raises:
        UserError: For impossible arguments, another set at ``root``, files there that are not the generator's, or
            another process that is making a set there.
    """
    root, meta = Path(root), _describe(train, val, size, seed)
    if _read_own(root, META) == meta and _complete(root, meta):
        return {**meta, 'reused': True}  # also where nothing can be written
    with locked(root):
        return _make(root, meta, overwrite, progress)


def _make(root: Path, meta: dict[str, Any], overwrite: bool, progress: Progress | None) -> dict[str, Any]:
    found, unfinished = _read_own(root, META), _read_own(root, _UNFINISHED)
    if found is None and unfinished is None:
        _refuse_foreign(root)
    if found == meta and _complete(root, meta):
        return {**meta, 'reused': True}
    if found is not None and found != meta and not overwrite:
        raise UserError(f'{root} holds scenes made with other arguments ({_difference(found, meta)}): '
                        'give another folder or the same arguments, or replace them with overwrite (--overwrite).')
    earlier = [one for one in (found, unfinished) if one is not None]
    counts = {split: max(one[split] for one in [meta, *earlier]) for split in SPLITS}
    write_json(root / _UNFINISHED, {'generator': _GENERATOR, **counts}, indent=None)
    (root / META).unlink(missing_ok=True)
    if earlier:
        _remove_scenes(root, counts)
    steps = _draw_all(root, meta)
    for _ in progress(steps, meta['train'] + meta['val']) if progress else steps:
        pass
    write_json(root / META, meta, indent=None)
    (root / _UNFINISHED).unlink()
    return {**meta, 'reused': False}


def preview(meta: dict[str, Any], rows: int = 3) -> Image.Image:
    """A sheet of the validation scenes of the set that ``meta`` (from :func:`make_scenes`) describes.

    Every row of eight pictures stands above the same pictures with classes tinted and objects outlined.
    """
    columns = len(SCENE_KINDS)
    sheet = []
    for row in range(min(rows, meta['val'] // columns)):
        scenes = [draw_scene(row * columns + i, 'val', tuple(meta['size']), meta['seed']) for i in range(columns)]
        sheet += [np.concatenate([scene.image for scene in scenes], 1),
                  np.concatenate([_overlay(scene) for scene in scenes], 1)]
    return Image.fromarray(np.concatenate(sheet))


def _overlay(scene: Scene) -> np.ndarray:
    tinted = 0.4 * scene.image + 0.6 * np.array(PALETTE)[scene.semantic]
    edge = np.zeros(scene.instance.shape, bool)
    edge[1:] |= scene.instance[1:] != scene.instance[:-1]
    edge[:, 1:] |= scene.instance[:, 1:] != scene.instance[:, :-1]
    tinted[edge] = 255
    return tinted.astype(np.uint8)


def _describe(train: int, val: int, size: tuple[int, int], seed: int) -> dict[str, Any]:
    """The content of ``meta.json`` for these arguments; refuses impossible ones."""
    kinds = len(SCENE_KINDS)
    if min(train, val) < kinds:
        raise UserError(f'{train} training and {val} validation scenes were asked for: '
                        f'each needs at least {kinds}, one of each kind of scene.')
    if min(size) < _SIDES[0] or max(size) > _SIDES[1]:
        raise UserError(f'A scene of {size[0]}x{size[1]} pixels was asked for: '
                        f'height and width must lie between {_SIDES[0]} and {_SIDES[1]}.')
    if seed < 0:
        raise UserError(f'The seed is {seed}: it must be 0 or more.')
    return {
        'generator': _GENERATOR, 'version': GENERATOR_VERSION, 'train': int(train), 'val': int(val),
        'size': [int(side) for side in size], 'seed': int(seed), 'classes': list(CLASSES),
        'palette': [list(colour) for colour in PALETTE], 'thing_classes': list(THING_CLASSES),
        'scene_kinds': list(SCENE_KINDS),
    }


def _read_own(root: Path, name: str) -> dict[str, Any] | None:
    """Content of one of the generator's own two records, None where it does not exist."""
    path = root / name
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        if record['generator'] == _GENERATOR and all(isinstance(record[split], int) for split in SPLITS):
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f'{path} was not written by the scene generator: give another folder.')


def _refuse_foreign(root: Path) -> None:
    taken = [name for name in (*_FOLDERS, *_SINGLE_FILES) if os.path.lexists(root / name)]
    if taken:
        raise UserError(f'{root} holds {", ".join(taken)}, which the scene generator did not write: '
                        'give another folder.')


def _difference(found: dict[str, Any], meta: dict[str, Any]) -> str:
    keys = [key for key in ('version', *SPLITS, 'size', 'seed') if found.get(key) != meta[key]]
    return ', '.join(f'{key} {found.get(key)} instead of {meta[key]}' for key in keys) or 'other classes'


def _complete(root: Path, meta: dict[str, Any]) -> bool:
    """Whether every file of the set is there (by name only)."""
    if not all((root / name).is_file() for name in _SINGLE_FILES if name.endswith('.json')):
        return False
    for split, name in SPLITS.items():
        stems = {_stem(index) for index in range(meta[split])}
        folders = [[root / 'images' / name], [root / 'annotations' / name],
                   [root / 'classification' / split / kind for kind in SCENE_KINDS]]
        for group in folders:
            there = {path.partition('.')[0] for folder in group if folder.is_dir() for path in os.listdir(folder)}
            if not stems <= there:
                return False
    return True


def _remove_scenes(root: Path, counts: dict[str, int]) -> None:
    """Remove the generator's files of a set of at most ``counts`` scenes, then the folders that are empty."""
    for split, name in SPLITS.items():
        classification = root / 'classification' / split
        kinds = sorted(path for path in classification.iterdir() if path.is_dir()) if classification.is_dir() else []
        for folder in (root / 'images' / name, root / 'annotations' / name, *kinds):
            for entry in os.listdir(folder) if folder.is_dir() else ():
                match = _SCENE_FILE.fullmatch(entry)
                if match and int(match[1]) < counts[split]:
                    (folder / entry).unlink()
            with suppress(OSError):
                folder.rmdir()
    for name in _SINGLE_FILES:
        (root / name).unlink(missing_ok=True)


def _draw_all(root: Path, meta: dict[str, Any]) -> Iterator[str]:
    """Draw and write the whole set but ``meta.json``; yields once per scene."""
    for split, name in SPLITS.items():
        images, annotations = root / 'images' / name, root / 'annotations' / name
        folders = [root / 'classification' / split / kind for kind in SCENE_KINDS]
        for folder in (images, annotations, *folders):
            folder.mkdir(parents=True, exist_ok=True)
        coco = _coco_header(meta)
        for index in range(meta[split]):
            scene = draw_scene(index, split, tuple(meta['size']), meta['seed'])
            picture = images / f'{_stem(index)}.jpg'
            Image.fromarray(scene.image).save(picture, quality=95, subsampling=0)
            _save_labels(scene.semantic, annotations / f'{_stem(index)}.png')
            _link(picture, root / 'classification' / split / scene.kind / picture.name)
            _add_to_coco(coco, scene, index, picture.name)
            yield picture.name
        write_json(root / f'instances_{name}.json', coco, indent=None)


def _stem(index: int) -> str:
    return f'scene_{index:06d}'


def _save_labels(semantic: np.ndarray, path: Path) -> None:
    """Index PNG with the palette in it: a viewer shows colours, a loader reads class ids."""
    picture = Image.fromarray(semantic).convert('P')
    picture.putpalette([channel for colour in PALETTE for channel in colour])
    picture.save(path)


def _link(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``: hard link, relative symbolic link, or a copy."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        try:
            target.symlink_to(os.path.relpath(source, target.parent))
        except OSError:
            shutil.copyfile(source, target)


def _coco_header(meta: dict[str, Any]) -> dict[str, Any]:
    return {
        'info': {'description': 'CAIT-MM embedded scenes', 'version': str(meta['version']), 'year': 2024,
                 'contributor': 'CAIT-MM', 'url': '', 'seed': meta['seed']},
        'licenses': [{'id': 1, 'name': 'Same licence as the generator', 'url': ''}],
        'categories': [{'id': number, 'name': name, 'supercategory': 'scene'}
                       for number, name in enumerate(THING_CLASSES, start=1)],
        'images': [], 'annotations': [],
    }


def _add_to_coco(coco: dict[str, Any], scene: Scene, index: int, file_name: str) -> None:
    height, width = scene.instance.shape
    coco['images'].append({'id': index + 1, 'file_name': file_name, 'height': height, 'width': width, 'license': 1,
                           'kind': scene.kind})
    for number, category in enumerate(scene.categories, start=1):
        mask = scene.instance == number
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        left, top = int(columns[0]), int(rows[0])
        coco['annotations'].append({
            'id': len(coco['annotations']) + 1, 'image_id': index + 1, 'iscrowd': 0,
            'category_id': THING_CLASSES.index(CLASSES[category]) + 1, 'area': int(mask.sum()),
            'bbox': [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
            'segmentation': {'size': [height, width], 'counts': _run_lengths(mask)}})


def _run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths: down the columns, background first."""
    flat = mask.ravel(order='F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges, [flat.size]])
    lengths = np.diff(starts).tolist()
    return [0, *lengths] if flat[0] else lengths
