"""Makers of malformed input, each from a seeded generator; used by the tests and benchmarks/robustness."""
import copy
import io
import math

import h5py
import numpy as np
import tifffile
import torch
from PIL import Image

VALUES = np.random.default_rng(7).integers(0, 256, (16, 24, 3), dtype=np.uint8)
IMAGE, LABEL = VALUES[..., 0] / 255, VALUES[..., 1] % 4
NASTY = [None, True, -1, 0, 0.5, math.nan, math.inf, 10 ** 30, 10 ** 400, '', '1', 'x' * 500, '\x00', '../..', [], {},
         [[]], [1, 2, 3], {'a': 1}, [[1, 2, 3, 4]], [[1, 'x'] * 3], dict(size=[1, 1], counts='x'),
         dict(size=[32, 32], counts='o' * 40), dict(size=[32, 32], counts=[-1, 1025]), dict(size='ab', counts={}),
         'deep']
STORED = (None, True, False, 0, -1, 1, 2, 10**6, 10**12, 0.5, 1e308, float('nan'), float('inf'), '', 'deit', '²',
          '9' * 5000, [], {}, [1], [1, 2], [[]], {'a': 1}, (), b'x', {1, 2}, torch.ones(2), ['a'] * 1000)
SHAPES = ((), (0,), (1,), (3,), (2, 2), (1, 1, 1), (1, 5, 24), (4, 1, 1, 1), (0, 24))


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


def good_coco():
    mask = [[2, 2, 20, 2, 20, 20, 2, 20]]
    return dict(
        images=[dict(id=index, file_name=f'{index}.jpg', height=32, width=32) for index in range(3)],
        annotations=[dict(id=index, image_id=index // 2, category_id=1 + index % 2, bbox=[2, 2, 18, 18], area=324,
                          iscrowd=0, segmentation=copy.deepcopy(mask)) for index in range(6)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])


def nasty(chance):
    value = copy.deepcopy(chance.choice(NASTY))
    for _ in range(800 if value == 'deep' else 0):
        value = [value]
    return value


def spoil(node, chance):
    """Change, remove or double something at a random depth, in place."""
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and chance.random() < 0.75:
            node = node[key]
            continue
        what = chance.random()
        if what < 0.7:
            node[key] = nasty(chance)
        elif what < 0.85:
            del node[key]
        elif isinstance(node, list):
            node.append(node[key])
        return


def label_map(chance, path):
    generator = np.random.default_rng(chance.randrange(2 ** 31))
    shape = chance.choice(((32, 32), (32, 32), (32, 31), (1, 1), (32, 32, 3), (32, 32, 4), (32, 32, 2)))
    kinds = (np.uint8, np.uint8, np.uint16, np.int32, np.float32, np.bool_)
    kind = chance.choice(kinds) if len(shape) == 2 else np.uint8
    values = generator.integers(0, chance.choice((1, 2, 3, 4, 256)), shape).astype(kind)
    if kind == np.float32 and chance.random() < 0.5:
        values[0] = math.nan
    if chance.random() < 0.3:
        values = (values * 255).astype(np.uint8 if kind == np.bool_ else kind)
    Image.fromarray(values).save(path, format='TIFF' if values.dtype.kind in 'fi' else 'PNG')
    content = path.read_bytes()
    broken = chance.random()
    if broken < 0.15:
        path.write_bytes(content[:chance.randrange(len(content))])
    elif broken < 0.3:
        place = chance.randrange(len(content))
        path.write_bytes(content[:place] + bytes([chance.randrange(256)]) + content[place + 1:])
    elif broken < 0.35:
        path.unlink()


def places(node, path=()):
    """The path of every value in nested dicts and lists."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def spoilt(data, rng, junk=STORED):
    """A copy of ``data`` with one value replaced, dropped or moved."""
    data = copy.deepcopy(data)
    *path, last = rng.choice([place for place in places(data) if place])
    node = data
    for key in path:
        node = node[key]
    way = rng.randrange(4)
    if way == 0:
        del node[last]
    elif way == 1 and isinstance(node, dict):
        node[rng.choice(['extra', 7, '', 'x' * 1000])] = node.pop(last)
    else:
        node[last] = rng.choice(junk)
    return data


def spoilt_weights(weights, rng):
    """A copy with one tensor missing, renamed, replaced, or of another shape, type or value."""
    weights, name = dict(weights), rng.choice(list(weights))
    value, way = weights[name], rng.randrange(6)
    if way == 0:
        del weights[name]
    elif way == 1:
        names = (f'{name}x', 'blocks.x.weight', 'blocks.', 'layers.9.blocks.a', 7, name.upper())
        weights[rng.choice(names)] = weights.pop(name)
    elif way == 2:
        weights[name] = torch.ones(rng.choice(SHAPES))
    elif way == 3:
        weights[name] = rng.choice([None, 5, 'text', [value], {'a': value}, value.tolist()])
    elif way == 4:
        weights[name] = value.to(rng.choice([torch.int8, torch.bool, torch.complex64]))
    else:
        weights[name] = torch.full(value.shape, rng.choice([float('nan'), float('inf')]))
    return weights
