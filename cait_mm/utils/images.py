"""The images of a folder, and batches of unlabelled images to calibrate on."""
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from timm.data import create_transform
from torch import Tensor

from cait_mm.errors import UserError, shown
from cait_mm.utils.inputs import read_lines
from cait_mm.utils.pictures import SUFFIXES, read_image

Item = TypeVar('Item')


def walk_images(folder: str | Path) -> Iterator[str]:
    """The paths below ``folder`` with the suffix of a picture, sorted by name.

    Links are followed, except back into a folder that contains them. Special files are listed too, so that the reader
    can report them.

    Raises:
        UserError: A folder cannot be listed.
    """
    def stop(error: OSError) -> None:
        if error.filename != str(folder) or not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise UserError(f'folder {error.filename} cannot be listed ({error.strerror}).') from error

    for parent, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        inside = os.path.realpath(parent)
        links = {name for name in folders if os.path.islink(os.path.join(parent, name))}
        folders[:] = [name for name in folders if name not in links or not _holds(os.path.join(parent, name), inside)]
        folders.sort()
        yield from (os.path.join(parent, name) for name in sorted(files) if name.lower().endswith(SUFFIXES))


def find_images(images: str | Path, count: int | None = None) -> list[str]:
    """The paths of ``count`` images (None: all), evenly spread over the sorted list of all.

    Args:
        images: A folder, or a text file with a path on every line.
        count: How many.

    Raises:
        UserError: There are none.
    """
    found = sorted(read_lines(images) if Path(images).is_file() else walk_images(images), key=Path)
    if not found:
        raise UserError(f'there are no images below {images}: give a folder of a few dozen, labels are not needed.')
    return spread(found, len(found) if count is None else count)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` of ``items``, evenly spread; all of them if there are fewer."""
    step = max(1, len(items) / count)
    return [items[int(i * step)] for i in range(min(count, len(items)))]


def load_batches(paths: Sequence[str | Path], size: int | tuple[int, int], batch_size: int = 16) -> Iterator[Tensor]:
    """Images resized (bicubic), cropped to ``size`` and normalised as for ImageNet, in batches (B, 3, H, W)."""
    transform = create_transform(size, interpolation='bicubic', crop_pct=224 / 256)
    for start in range(0, len(paths), batch_size):
        yield torch.stack([transform(read_image(path)) for path in paths[start:start + batch_size]])


def as_batches(images: Any, size: int | tuple[int, int], count: int,
               labels: bool = False) -> Iterator[Tensor | tuple[Tensor, Tensor]]:
    """The first ``count`` images, or a few more, of any source of images, in batches (B, C, H, W).

    Args:
        images: A folder or list (:func:`find_images`), read by :func:`load_batches`; or one tensor, or a loader or list
            of tensors, which are taken unchanged: (B, C, H, W), or (C, H, W) for one image. Of a loader's ``(images,
            labels)`` and ``dict(inputs=images)`` the labels are left out.
        size: For the images of a folder.
        count: How many.
        labels: Take the labels too, and give pairs (images, labels).

    Raises:
        UserError: Something is no image, or labels are wanted and there are none.
    """
    if isinstance(images, (str, os.PathLike)):
        if labels:
            raise UserError('`labels`: a folder holds images alone; give a loader of (images, labels).')
        yield from load_batches(find_images(images, count), size)
        return
    if not isinstance(images, Iterable):
        raise UserError(f'`images`: {shown(images)} is neither a folder nor tensors nor a loader of them.')
    taken = 0
    for batch in [images] if isinstance(images, Tensor) else images:
        batch = batch.get('inputs') if isinstance(batch, Mapping) else batch
        pair = batch
        batch = batch[0] if isinstance(batch, (list, tuple)) and batch else batch
        if not isinstance(batch, Tensor) or batch.dim() not in (3, 4) or not batch.is_floating_point():
            raise UserError('`images`: tensors (B, C, H, W) of normalised floats are wanted, alone, as (images, labels)'
                            f' or as dict(inputs=images), not {shown(batch)}.')
        if labels and not (isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[1], Tensor)
                           and batch.dim() == 4 and len(pair[1]) == len(batch)):
            raise UserError(f'`labels`: a loader of pairs of tensors (images, labels) is wanted, not {shown(pair)}.')
        yield (batch, pair[1].long()) if labels else batch if batch.dim() == 4 else batch[None]
        taken += 1 if batch.dim() == 3 else len(batch)
        if taken >= count:
            return


def _holds(link: str, folder: str) -> bool:
    """Whether a link leads to ``folder`` (a real path) or above it."""
    target = os.path.realpath(link)
    return os.path.commonpath([target, folder]) == target
