"""Seeded damage to pictures, arrays and lists: each reader gives a value of its kind or one sentence with the name."""
import io
import os
import warnings

import h5py
import mmcv
import numpy as np
import pytest
import tifffile
from PIL import Image

from cait_mm.datasets import ImageFolder
from cait_mm.datasets.pictures import read_image, read_mask, read_picture
from cait_mm.datasets.slices import read_slice, volume_shape
from cait_mm.errors import UserError

VALUES = np.random.default_rng(7).integers(0, 256, (16, 24, 3), dtype=np.uint8)
IMAGE, LABEL = VALUES[..., 0] / 255, VALUES[..., 1] % 4


def written(save):
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def exif():
    tags = Image.Exif()
    tags[274] = 6
    return tags


def hdf5(file, **options):
    with h5py.File(file, 'w') as target:
        for name, values in (('image', IMAGE), ('label', LABEL)):
            target.create_dataset(name, data=values, **options)


PICTURES = {
    'a.jpg': lambda file: Image.fromarray(VALUES).save(file, 'JPEG', exif=exif()),
    'b.jpg': lambda file: Image.fromarray(VALUES).save(file, 'JPEG', progressive=True),
    'a.png': lambda file: Image.fromarray(VALUES).save(file, 'PNG', exif=exif()),
    'b.png': lambda file: Image.fromarray(VALUES[..., 0]).quantize(8).save(file, 'PNG'),
    'a.bmp': lambda file: Image.fromarray(VALUES).save(file, 'BMP'),
    'a.webp': lambda file: Image.fromarray(VALUES).save(file, 'WEBP'),
    'a.gif': lambda file: Image.fromarray(VALUES).save(file, 'GIF'),
    'a.tif': lambda file: Image.fromarray(VALUES).save(file, 'TIFF', compression='tiff_lzw'),
    'b.tif': lambda file: tifffile.imwrite(file, VALUES.astype(np.uint16), photometric='rgb'),
}
ARRAYS = {
    'a.npz': lambda file: np.savez(file, image=IMAGE, label=LABEL),
    'b.npz': lambda file: np.savez_compressed(file, image=IMAGE, label=LABEL),
    'a.h5': hdf5,
    'b.h5': lambda file: hdf5(file, chunks=True, compression='gzip', fletcher32=True),
}
LISTS = {'a.txt': lambda file: file.write('img/ä b.png 3\r\nimg/c.png 0\n\n/d.png 12\n'.encode('utf-8-sig')),
         'b.txt': lambda file: file.write('img/ä b.png 3\n'.encode('utf-16'))}


def damaged(content, random):
    """Bytes flipped, cut out, overwritten, doubled or cut off."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        start, length = int(random.integers(0, len(content) or 1)), int(random.integers(1, 40))
        kind = random.integers(0, 6)
        if kind == 0:
            content[start:start + 1] = random.bytes(1)
        elif kind == 1:
            content[start:start + length] = random.bytes(length)
        elif kind == 2:
            del content[start:start + length]
        elif kind == 3:
            content[start:start] = content[start:start + length]
        elif kind == 4:
            content[start:start + 4] = random.choice([b'\xff' * 4, b'\0' * 4, b'\x7f\xff\xff\xff'])
        else:
            del content[max(1, start):]
    return bytes(content)


def outcome(path, read, expected):
    try:
        found = read(path)
    except UserError as error:
        assert '\n' not in str(error) and path.name in str(error) and len(str(error)) < 600
        return 'refused'
    assert expected(found), path
    return 'read'


def campaign(folder, originals, readers, number, seed):
    random, results = np.random.default_rng(seed), []
    wholes = {name: written(save) for name, save in originals.items()}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # what Pillow and tifffile remark about damage
        for index in range(number):
            name = list(wholes)[index % len(wholes)]
            path = folder / f'{index}_{name}'
            path.write_bytes(damaged(wholes[name], random))
            results += [outcome(path, read, expected) for read, expected in readers]
    return results


def is_picture(found):
    return found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3 and found.size


def is_slice(found):
    return found.dtype == np.uint8 and found.ndim == 2 and found.size


def test_damaged_pictures(tmp_path):
    readers = [(read_picture, is_picture), (lambda path: np.asarray(read_image(path)), is_picture),
               (read_mask, lambda found: is_slice(found) and found.max() <= 1)]
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
        with pytest.raises(UserError) as found:
            read(os.path.join(tmp_path, name))
        assert '\n' not in str(found.value)
