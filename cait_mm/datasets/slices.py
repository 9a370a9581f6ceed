"""Slices of medical volumes in HDF5 files and NumPy archives, read through MMEngine's file backends.

``slice://FILE#INDEX`` is a slice as a grey 8-bit PNG and ``slice://FILE#INDEX:label`` its labels; INDEX is empty for a
file of one slice. MMSegmentation's loading, drawing and inference take such paths like those of pictures.
"""
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import LocalBackend, register_backend

from cait_mm.datasets.arrays import Arrays, open_arrays
from cait_mm.errors import UserError

SUFFIXES = ('.npy.h5', '.h5', '.npz')
"""ACDC's slices and volumes and Synapse's volumes are HDF5, Synapse's slices NumPy archives."""
IMAGE_KEYS, LABEL_KEYS = ('image', 'img'), ('label', )
SCHEME = 'slice://'
_URI = re.compile(SCHEME + r'(?P<path>.+)#(?P<index>\d*)(?P<label>:label)?')


def slice_uri(path: str, index: int | None = None, label: bool = False) -> str:
    """The address of a slice of a file, or of its labels; without an index the file holds one slice."""
    return f'{SCHEME}{path}#{"" if index is None else index}{":label" if label else ""}'


def slice_at(uri: str) -> np.ndarray:
    """The slice at an address of :func:`slice_uri`; see :func:`read_slice`.

    Raises:
        UserError: As :func:`read_slice`, or it is no such address.
    """
    match = _URI.fullmatch(str(uri))
    if not match:
        raise UserError(f'{uri} is no slice: write slice://FILE#INDEX or slice://FILE#INDEX:label.')
    return read_slice(match['path'], int(match['index']) if match['index'] else None, bool(match['label']))


def volume_shape(path: str) -> tuple[int, ...]:
    """The shape of the labels: (D, H, W) of a volume, (H, W) of a slice.

    Raises:
        UserError: The file cannot be read, or image and labels differ in shape.
    """
    with open_arrays(path) as arrays:
        image, label = (arrays.entry(_key(arrays, path, keys)).shape for keys in (IMAGE_KEYS, LABEL_KEYS))
    if image != label or len(label) not in (2, 3):
        raise UserError(f'{path} holds an image of shape {image} and labels of {label}: they have to be the same, '
                        '(H, W) or (slices, H, W).')
    return label


def read_slice(path: str, index: int | None = None, label: bool = False) -> np.ndarray:
    """One slice of a file as uint8 (H, W): intensities 0..255, or class ids.

    Intensities in the file are 0..1, as after the preprocessing of TransUNet and WSL4MIS, or bytes. They become bytes,
    because MMSegmentation's visualizer and inferencer read nothing else.

    Args:
        path: A file of one slice (H, W) or of a volume (D, H, W), with entries ``image`` (or ``img``) and ``label``.
        index: The number of the slice in a volume; None for a file of one slice.
        label: Read the labels.

    Raises:
        UserError: The file is missing or damaged, or does not hold such arrays.
    """
    with open_arrays(path) as arrays:
        entry = arrays.entry(_key(arrays, path, LABEL_KEYS if label else IMAGE_KEYS))
        if len(entry.shape) != (2 if index is None else 3):
            wanted = 'one slice (H, W)' if index is None else 'a volume (slices, H, W)'
            raise UserError(f'{path} holds an array of shape {tuple(entry.shape)} and {wanted} was expected: set '
                            f'volumes={index is None} for these files.')
        values = entry.read(index)
    return _class_ids(values, path) if label else _bytes(values, path)


class SliceBackend(LocalBackend):
    """A backend of MMEngine that reads the addresses of :func:`slice_uri`."""

    def get(self, filepath: str) -> bytes:
        """The slice or its labels as a PNG.

        Raises:
            UserError: The address or the file cannot be read.
        """
        return cv2.imencode('.png', slice_at(filepath))[1].tobytes()


register_backend('slice', SliceBackend, prefixes='slice', force=True)


def _key(arrays: Arrays, path: str, keys: Sequence[str]) -> str:
    key = next((key for key in keys if key in arrays.names), None)
    if key is None:
        listed = ', '.join(list(arrays.names)[:5]) or 'nothing'
        raise UserError(f'{path} holds {listed}: entries "image" and "label" are wanted.')
    return key


def _bytes(values: np.ndarray, path: str) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    low, high = float(values.min()), float(values.max())
    # the negation also refuses NaN; interpolation may exceed the range a little
    if not (low >= -0.01 and high <= 1.01):
        raise UserError(f'intensities of {Path(path).name} go from {low:g} to {high:g}: scale them to 0..1 first, as '
                        'TransUNet\'s preprocessing does (CT: clip to -125..275 HU).')
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)


def _class_ids(values: np.ndarray, path: str) -> np.ndarray:
    ids = np.rint(values) if values.dtype.kind == 'f' else values
    if not (ids == values).all() or ids.min() < 0 or ids.max() > 255:
        raise UserError(f'labels of {Path(path).name} are no class ids: whole numbers from 0 to 255 are wanted.')
    return ids.astype(np.uint8)
