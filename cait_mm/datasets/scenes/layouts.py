"""A set of scenes on disk in three layouts, for which every scene is drawn once."""
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from cait_mm.datasets.scenes.canvas import CLASSES, PALETTE, THING_CLASSES
from cait_mm.datasets.scenes.composition import SCENE_KINDS
from cait_mm.datasets.scenes.drawing import SPLITS, Scene, draw_scene
from cait_mm.errors import UserError
from cait_mm.utils.files import read_json, require_folder_place, write_json
from cait_mm.utils.lock import locked

# Raise it whenever a pixel or a label of any scene changes: a set of another version is refused, not reused.
GENERATOR_VERSION = 2
META, PREVIEW = 'meta.json', 'preview.png'
_GENERATOR = 'cait_mm scenes'
_MOST, _SIDES = 10**6, (32, 4096)

Progress = Callable[[list], Iterable]


def make_scenes(root: str | Path, train: int = 480, val: int = 80, size: tuple[int, int] = (192, 192), seed: int = 0,
                overwrite: bool = False, progress: Progress = iter) -> dict[str, Any]:
    """Write a set of scenes in three layouts, unless it is there already.

    ``images/`` with ``annotations/`` (ADE20K's folders, index PNGs), ``instances_*.json`` (COCO's format, RLE masks)
    and ``classification/`` (ImageFolder, the same pictures). The set is made in a folder next to ``root`` and renamed
    when it is complete.

    Args:
        root: Folder of the set.
        train, val: Number of scenes; at least one of each kind.
        size: Height and width in pixels.
        seed: 0 or more.
        overwrite: Replace a set that was made with other arguments.
        progress: Called like ``tqdm`` with the list of scenes to draw; returns an iterable over them.

    Returns:
        The content of ``meta.json``, and ``'reused'``: whether nothing had to be drawn.

    Raises:
        UserError: Arguments are impossible; ``root`` holds another set, or files that the generator did not write; or
            another process is making a set there.
    """
    place, meta = Path(os.path.realpath(root)), _describe(train, val, size, seed)
    if _is_there(place, meta, overwrite):
        return {**meta, 'reused': True}  # also where nothing can be written
    require_folder_place(root)
    workshop = place.with_name(f'.{place.name}.unfinished')
    with locked(workshop):
        reused = _is_there(place, meta, overwrite)  # another process may have made it meanwhile
        if not reused:
            _replace(place, workshop, meta, progress)
    with suppress(OSError):
        workshop.rmdir()
    return {**meta, 'reused': reused}


def _describe(train: int, val: int, size: tuple[int, int], seed: int) -> dict[str, Any]:
    """The content of ``meta.json`` for these arguments; refuses impossible ones."""
    kinds = len(SCENE_KINDS)
    if min(train, val) < kinds or max(train, val) > _MOST:
        raise UserError(f'{train} training and {val} validation scenes were asked for: each needs at least {kinds}, '
                        f'one of each kind of scene, and at most {_MOST}.')
    if min(size) < _SIDES[0] or max(size) > _SIDES[1]:
        raise UserError(f'A scene of {size[0]}x{size[1]} pixels was asked for: '
                        f'height and width must lie between {_SIDES[0]} and {_SIDES[1]}.')
    if seed < 0:
        raise UserError(f'The seed is {seed}: it must be 0 or more.')
    return {'generator': _GENERATOR, 'version': GENERATOR_VERSION, 'train': train, 'val': val, 'size': list(size),
            'seed': seed, 'classes': list(CLASSES), 'palette': [list(colour) for colour in PALETTE],
            'thing_classes': list(THING_CLASSES), 'scene_kinds': list(SCENE_KINDS)}


def _is_there(place: Path, meta: dict[str, Any], overwrite: bool) -> bool:
    """Whether the complete set is there.

    Raises:
        UserError: There are other files, which must not be replaced.
    """
    if not place.is_dir() or not any(place.iterdir()):
        return False
    stored = None
    with suppress(UserError):
        stored = read_json(place / META)
    if not (isinstance(stored, dict) and stored.get('generator') == _GENERATOR
            and all(isinstance(stored.get(split), int) and stored[split] <= _MOST for split in SPLITS)):
        raise UserError(f'{place} holds files and no set of scenes, or its {META} was not written by the scene '
                        'generator: give a folder that is empty or not there yet.')
    files = {str(path.relative_to(place)) for path in place.rglob('*') if path.is_symlink() or not path.is_dir()}
    if stored == meta and _files(meta) <= files:
        return True
    if stored != meta and not overwrite:
        keys = [key for key in ('version', *SPLITS, 'size', 'seed') if stored.get(key) != meta[key]]
        differences = ', '.join(f'{key} {stored.get(key)} instead of {meta[key]}' for key in keys) or 'other classes'
        raise UserError(f'{place} holds scenes made with other arguments ({differences}): '
                        'give another folder or the same arguments, or replace them with overwrite (--overwrite).')
    foreign = sorted(files - _files(stored))
    if foreign:
        raise UserError(f'{place} cannot be replaced, because the scene generator did not write {foreign[0]}: '
                        'move it elsewhere, or give another folder.')
    return False


def _files(meta: dict[str, Any]) -> set[str]:
    """The files of a complete set."""
    names = {META, PREVIEW, *(f'instances_{folder}.json' for folder in SPLITS.values())}
    return names.union(*(_paths(split, index) for split in SPLITS for index in range(meta[split])))


def _paths(split: str, index: int) -> tuple[str, str, str]:
    """The paths of the picture, the semantic map, and the picture in the folder of its kind."""
    name, folder, kind = f'scene_{index:06d}', SPLITS[split], SCENE_KINDS[index % len(SCENE_KINDS)]
    return (f'images/{folder}/{name}.jpg', f'annotations/{folder}/{name}.png',
            f'classification/{split}/{kind}/{name}.jpg')


def _replace(place: Path, workshop: Path, meta: dict[str, Any], progress: Progress) -> None:
    """Make the set in ``workshop``, then swap it with the folder at ``place``."""
    new, old = workshop / 'new', workshop / 'old'

    def clear() -> None:
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)

    clear()  # a process may have been killed
    try:
        _write(new, meta, progress)
        if place.exists():
            place.rename(old)
        new.rename(place)
    finally:
        clear()


def _write(root: Path, meta: dict[str, Any], progress: Progress) -> None:
    """Draw and write a complete set."""
    categories = [{'id': number, 'name': name} for number, name in enumerate(THING_CLASSES, start=1)]
    coco = {split: {'info': {'description': 'CAIT-MM embedded scenes'}, 'categories': categories, 'images': [],
                    'annotations': []} for split in SPLITS}
    sheet, columns, colours = [], len(SCENE_KINDS), np.array(PALETTE, np.uint8)
    for split, index in progress([(name, index) for name in SPLITS for index in range(meta[name])]):
        scene = draw_scene(index, split, tuple(meta['size']), meta['seed'])
        picture, labels, copy = (root / path for path in _paths(split, index))
        for path in (picture, labels, copy):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(picture, quality=95, subsampling=0)
        indices = Image.fromarray(scene.semantic).convert('P')
        indices.putpalette(colours.tobytes())
        indices.save(labels)
        try:
            os.link(picture, copy)
        except OSError:
            shutil.copyfile(picture, copy)
        _add_to_coco(coco[split], scene, picture.name)
        if split == 'val' and len(sheet) < min(3, meta['val'] // columns) * columns:
            sheet.append(np.vstack([scene.image, colours[scene.semantic]]))
    for split, folder in SPLITS.items():
        write_json(root / f'instances_{folder}.json', coco[split], indent=None)
    rows = [np.hstack(sheet[first:first + columns]) for first in range(0, len(sheet), columns)]
    Image.fromarray(np.vstack(rows)).save(root / PREVIEW)
    write_json(root / META, meta, indent=None)


def _add_to_coco(coco: dict[str, Any], scene: Scene, file_name: str) -> None:
    height, width = scene.instance.shape
    coco['images'].append({'id': len(coco['images']) + 1, 'file_name': file_name, 'height': height, 'width': width})
    for number, category in enumerate(scene.categories, start=1):
        mask = rle.encode(np.asfortranarray(scene.instance == number, np.uint8))
        coco['annotations'].append({
            'id': len(coco['annotations']) + 1, 'image_id': len(coco['images']), 'iscrowd': 0,
            'category_id': THING_CLASSES.index(CLASSES[category]) + 1, 'area': int(rle.area(mask)),
            'bbox': rle.toBbox(mask).tolist(), 'segmentation': {**mask, 'counts': mask['counts'].decode()}})
