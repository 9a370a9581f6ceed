"""Images of a folder, and batches of them without labels to calibrate on."""
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from timm.data import create_transform
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.utils.pictures import SUFFIXES, read_image

Item = TypeVar('Item')


def walk_images(folder: str | Path) -> Iterator[str]:
    """The paths of everything below ``folder`` whose name is a picture's and that is no folder, by name.

    Links are followed, except back into a folder that they are in. What is no regular file is listed too, so that the
    one who reads it can say so.

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


def find_images(folder: str | Path, count: int) -> list[Path]:
    """``count`` images below ``folder``, evenly spread over the sorted list of all.

    Raises:
        UserError: There are none.
    """
    found = sorted(map(Path, walk_images(folder)))
    if not found:
        raise UserError(f'there are no images below {folder}: give a folder of a few dozen, labels are not needed.')
    return spread(found, count)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` of ``items`` (all, where there are fewer), evenly spread."""
    step = max(1, len(items) / count)
    return [items[int(i * step)] for i in range(min(count, len(items)))]


def load_batches(paths: Sequence[str | Path], size: int, batch_size: int = 16) -> Iterator[Tensor]:
    """Images resized (bicubic), cropped to ``size`` and normalised as ImageNet's, in batches (B, 3, size, size)."""
    transform = create_transform(size, interpolation='bicubic', crop_pct=224 / 256)
    for start in range(0, len(paths), batch_size):
        yield torch.stack([transform(read_image(path)) for path in paths[start:start + batch_size]])


def _holds(link: str, folder: str) -> bool:
    """Whether a link leads to ``folder`` (a real path) or above it."""
    target = os.path.realpath(link)
    return os.path.commonpath([target, folder]) == target
