"""Reading of arrays in HDF5 files and NumPy archives; a file that holds anything else is a clear error.

Nothing is unpickled, and no other file is opened: HDF5's external links, external storage and virtual datasets are
refused.
"""
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import h5py
import numpy as np

from cait_mm.errors import UserError, reason_of
from cait_mm.utils.inputs import require_file

MOST_BYTES = 2 ** 32
"""The largest size of an unpacked array."""
MOST_SLICES = 2 ** 16


class Entry(NamedTuple):
    """An array in a file: its ``shape``, and ``read(index)``, which gives all of it or one slice of the first axis."""
    shape: tuple[int, ...]
    read: Callable[[int | None], np.ndarray]


class Arrays(NamedTuple):
    """An open file: the ``names`` of its entries, and ``entry(name)``."""
    names: Collection[str]
    entry: Callable[[str], Entry]


@contextmanager
def open_arrays(path: str) -> Iterator[Arrays]:
    """An HDF5 file, or a NumPy archive where the name ends in ``.npz``.

    Arrays hold numbers or truth values, are not empty, and have at most ``MOST_BYTES`` and, along the first of three or
    more axes, ``MOST_SLICES``. This is checked before anything is unpacked.

    Raises:
        UserError: The file is missing, damaged or no regular file, or an entry is no such array.
    """
    require_file(path)
    is_archive = str(path).lower().endswith('.npz')
    try:
        file = zipfile.ZipFile(path) if is_archive else h5py.File(path, 'r')
        with file:
            names = [name.removesuffix('.npy') for name in file.namelist()] if is_archive else list(file)
            opened = _archived if is_archive else _stored
            yield Arrays(names, lambda name: opened(file, path, name))
    except UserError:
        raise
    except Exception as error:  # zlib, zipfile, NumPy and HDF5 raise many types
        kind = 'NumPy archive' if is_archive else 'HDF5 file'
        raise UserError(f'{path} is no readable {kind} ({reason_of(error)}): get it again.') from error


def _archived(archive: zipfile.ZipFile, path: str, name: str) -> Entry:
    with archive.open(f'{name}.npy') as file:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:  # only arrays with named fields need another
            raise _unfit(path, name, f'an array of format {version}')
        shape, _, dtype = header[version](file)
    _require_numbers(path, name, shape, dtype)

    def read(index: int | None) -> np.ndarray:
        with archive.open(f'{name}.npy') as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
        return values if index is None else values[_within(index, shape, path)]

    return Entry(shape, read)


def _stored(file: h5py.File, path: str, name: str) -> Entry:
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
        raise _unfit(path, name, 'a link to another file')
    values: Any = file[name]
    if not isinstance(values, h5py.Dataset):
        raise _unfit(path, name, f'a {type(values).__name__.lower()}')
    if values.file.filename != file.filename or values.external or values.is_virtual:
        raise _unfit(path, name, 'values that lie in another file')
    _require_numbers(path, name, values.shape, values.dtype)
    return Entry(values.shape, lambda index: values[() if index is None else _within(index, values.shape, path)])


def _require_numbers(path: str, name: str, shape: tuple[int, ...] | None, dtype: np.dtype) -> None:
    if dtype.kind not in 'biuf':
        raise _unfit(path, name, f'values of type {str(dtype)[:60]}')
    if shape is None or not prod(shape):
        raise _unfit(path, name, f'an empty array of shape {shape}')
    if min(shape, default=1) < 0 or prod(shape) * dtype.itemsize > MOST_BYTES:
        raise _unfit(path, name, f'an array of shape {shape}, larger than {MOST_BYTES >> 30} GiB')
    if len(shape) > 2 and shape[0] > MOST_SLICES:
        raise _unfit(path, name, f'{shape[0]} slices, more than {MOST_SLICES}')


def _within(index: int, shape: tuple[int, ...], path: str) -> int:
    if not (shape and index < shape[0]):
        raise UserError(f'{path}, slice {index}, cannot be read (its shape is {shape}): get the file again.')
    return index


def _unfit(path: str, name: str, what: str) -> UserError:
    return UserError(f'entry {name} of {path} holds {what}: an array of numbers is wanted.')
