"""An ImageNet-like dataset of images in folders."""
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS
from timm.data import create_transform
from timm.utils.misc import natural_key
from torch.utils.data import Dataset

from cait_mm.errors import UserError
from cait_mm.utils.images import walk_images
from cait_mm.utils.inputs import read_lines
from cait_mm.utils.pictures import read_image

MOST_CLASSES = 1_000_000


@DATASETS.register_module()
class ImageFolder(Dataset):
    """Labelled images, transformed by timm.

    Classes are the folders that hold images, in natural order of their names; or ``ann_file`` lists the images.

    Args:
        data_root, data_prefix: ``data_root/data_prefix`` holds the images.
        ann_file: A list file, relative to ``data_root``, with lines ``PATH INDEX``; paths are relative to the folder of
            images.
        transform: Arguments of ``timm.data.create_transform``: ``input_size``, ``is_training``, ``auto_augment``, ...
        per_class: Use only this many images of every class, the first ones.

    Pictures are turned by their EXIF orientation (:func:`cait_mm.utils.pictures.read_image`), as in MMCV; the readers
    of timm and torchvision do not turn them.

    Items are ``dict(inputs=(3, H, W) normalised, targets=class index)``.

    Raises:
        UserError: There are no images, or a line of the list cannot be understood.
    """

    def __init__(self, data_root: str = '', data_prefix: str = '', ann_file: str = '',
                 transform: Mapping[str, Any] | None = None, per_class: int | None = None) -> None:
        folder = Path(data_root, data_prefix)
        if ann_file:
            self.samples = _read_list(Path(data_root, ann_file), folder)
            classes = [str(index) for index in range(1 + max((label for _, label in self.samples), default=-1))]
        else:
            self.samples, classes = _read_folders(folder)
        if per_class:
            self.samples = _first_of_each(self.samples, per_class)
        if not self.samples:
            raise UserError(f'there are no images in {ann_file or f"the class folders of {folder}"}.')
        self.ann_file, self.metainfo = ann_file, dict(classes=classes)
        self.transform = create_transform(**dict(transform or {'input_size': 224}))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, label = self.samples[index]
        return dict(inputs=self.transform(read_image(path)), targets=label)


def _read_folders(folder: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """Images with the index of their folder, and the names of the folders (as timm's ``ReaderImageFolder``)."""
    named = [(path, os.path.basename(os.path.dirname(os.path.relpath(path, folder)))) for path in walk_images(folder)]
    classes = sorted({name for _, name in named}, key=natural_key)
    index = {name: number for number, name in enumerate(classes)}
    return sorted(((path, index[name]) for path, name in named), key=lambda item: natural_key(item[0])), classes


def _read_list(path: Path, folder: Path) -> list[tuple[str, int]]:
    samples = []
    for line in read_lines(path):
        match = re.fullmatch(r'(.*\S)\s+([0-9]+)', line)
        if not match or len(match[2]) > 18 or int(match[2]) >= MOST_CLASSES:
            raise UserError(f'list file {path} has the line "{line[:120]}": "PATH INDEX" is wanted, the index a whole '
                            f'number from 0 to {MOST_CLASSES - 1}.')
        samples.append((str(folder / match[1]), int(match[2])))
    return samples


def _first_of_each(samples: Sequence[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    seen: dict[int, int] = {}
    kept = []
    for path, label in samples:
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= count:
            kept.append((path, label))
    return kept
