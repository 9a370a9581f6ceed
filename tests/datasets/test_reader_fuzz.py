"""Seeded damage to pictures, arrays and lists: each reader gives a value of its kind or one sentence with the name."""
import os
import warnings

import mmcv
import numpy as np
import pytest
from damage import ARRAYS, LISTS, PICTURES, damaged, written

from cait_mm.datasets import ImageFolder
from cait_mm.datasets.slices import read_slice, volume_shape
from cait_mm.errors import UserError
from cait_mm.utils.pictures import read_image, read_mask, read_picture


def outcome(path, read, expected):
    try:
        content = read(path)
    except UserError as error:
        assert '\n' not in str(error) and path.name in str(error) and len(str(error)) < 600
        return 'refused'
    assert expected(content), path
    return 'read'


def campaign(folder, originals, readers, number, seed):
    random, results = np.random.default_rng(seed), []
    wholes = {name: written(save) for name, save in originals.items()}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow and tifffile warn about damage
        for index in range(number):
            name = list(wholes)[index % len(wholes)]
            path = folder / f'{index}_{name}'
            path.write_bytes(damaged(wholes[name], random))
            results += [outcome(path, read, expected) for read, expected in readers]
    return results


def is_picture(values):
    return values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] == 3 and values.size


def is_slice(values):
    return values.dtype == np.uint8 and values.ndim == 2 and values.size


def test_damaged_pictures(tmp_path):
    readers = [(read_picture, is_picture), (lambda path: np.asarray(read_image(path)), is_picture),
               (read_mask, lambda values: is_slice(values) and values.max() <= 1)]
    results = campaign(tmp_path, PICTURES, readers, number=120, seed=13)
    assert 60 < results.count('refused') < 340, 'damage that is noticed, and damage that is not'


def test_damaged_pictures_through_the_libraries_loading(tmp_path):
    from mmcv.transforms import LoadImageFromFile

    from cait_mm.datasets.loading import GuardedLoading
    loaders = [GuardedLoading(LoadImageFromFile(imdecode_backend=backend)) for backend in ('cv2', 'pillow')]
    readers = [(lambda path, loader=loader: loader(dict(img_path=str(path)))['img'], is_picture) for loader in loaders]
    results = campaign(tmp_path, PICTURES, readers, number=90, seed=14)
    assert 40 < results.count('refused') < 170
    for name, save in PICTURES.items():
        assert mmcv.imfrombytes(written(save)) is not None, name


def test_damaged_arrays(tmp_path):
    readers = [(lambda path: volume_shape(str(path)), lambda shape: len(shape) in (2, 3)),
               (lambda path: read_slice(str(path)), is_slice), (lambda path: read_slice(str(path), 1), is_slice),
               (lambda path: read_slice(str(path), label=True), is_slice)]
    results = campaign(tmp_path, ARRAYS, readers, number=120, seed=15)
    assert 120 < results.count('refused') < 470


def test_damaged_lists(tmp_path):
    readers = [(lambda path: ImageFolder(str(tmp_path), ann_file=path.name).samples, lambda samples: all(
        isinstance(path, str) and label >= 0 for path, label in samples))]
    results = campaign(tmp_path, LISTS, readers, number=80, seed=16)
    assert 10 < results.count('refused') < 80


@pytest.mark.parametrize('name', ['x' * 300 + '.png', 'a\0b.png', '', '.', '/', 'ä ü.png', '-.png'])
def test_strange_names(tmp_path, name):
    for read in (read_image, read_mask, lambda path: read_slice(path + '.npz')):
        with pytest.raises(UserError) as raised:
            read(os.path.join(tmp_path, name))
        assert '\n' not in str(raised.value)
