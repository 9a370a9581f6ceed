"""Images of a folder: an ImageNet-like dataset, and batches without labels to calibrate on."""
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

import torch
from mmengine.registry import DATASETS
from PIL import Image
from timm.data import create_transform
from timm.data.readers.reader_image_folder import find_images_and_targets
from torch import Tensor
from torch.utils.data import Dataset

from cait_mm.errors import UserError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
Item = TypeVar('Item')


@DATASETS.register_module()
class ImageFolder(Dataset):
    """Labelled images, transformed by timm.

    Classes are the folders that hold images, in natural order of their names; or ``ann_file`` lists the images.

    Args:
        data_root, data_prefix: ``data_root/data_prefix`` holds the images.
        ann_file: A list file, relative to ``data_root``: lines of ``PATH INDEX``, paths relative to the images' folder.
        transform: Arguments of ``timm.data.create_transform``: ``input_size``, ``is_training``, ``auto_augment``, ...
        per_class: Use only the first so many images of every class.

    Items are ``dict(inputs=(3, H, W) normalised, targets=class index)``.

    Raises:
        UserError: Nothing was found, or a line of the list cannot be understood.
    """

    def __init__(self, data_root: str = '', data_prefix: str = '', ann_file: str = '',
                 transform: Optional[Mapping[str, Any]] = None, per_class: Optional[int] = None) -> None:
        folder = Path(data_root, data_prefix)
        if ann_file:
            self.samples = _read_list(Path(data_root, ann_file), folder)
            classes = [str(index) for index in range(1 + max((label for _, label in self.samples), default=-1))]
        else:
            self.samples, index = find_images_and_targets(str(folder), types=IMAGE_SUFFIXES)
            classes = sorted(index, key=index.get)
        if per_class:
            self.samples = _first_of_each(self.samples, per_class)
        if not self.samples:
            raise UserError(f'there are no images in {ann_file or f"the class folders of {folder}"}.')
        self.ann_file, self.metainfo = ann_file, dict(classes=classes)
        self.transform = create_transform(**dict(transform or {'input_size': 224}))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        path, label = self.samples[index]
        return dict(inputs=self.transform(read_image(path)), targets=label)


def read_image(path: Union[str, Path]) -> Image.Image:
    """An image file as RGB.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        return Image.open(path).convert('RGB')
    except (OSError, SyntaxError) as error:
        raise UserError(f'image {path} cannot be read ({error}): remove or replace it.') from error


def find_images(folder: Union[str, Path], count: int) -> List[Path]:
    """``count`` images below ``folder``, evenly spread over the sorted list of all.

    Raises:
        UserError: There are none.
    """
    found = sorted(path for path in Path(folder).rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise UserError(f'there are no images below {folder}: give a folder of a few dozen, labels are not needed.')
    return spread(found, count)


def spread(items: Sequence[Item], count: int) -> List[Item]:
    """``count`` of ``items`` (all, where there are fewer), evenly spread."""
    step = max(1, len(items) / count)
    return [items[int(i * step)] for i in range(min(count, len(items)))]


def load_batches(paths: Sequence[Union[str, Path]], size: int, batch_size: int = 16) -> Iterator[Tensor]:
    """Images resized (bicubic), cropped to ``size`` and normalised as ImageNet's, in batches (B, 3, size, size)."""
    transform = create_transform(size, interpolation='bicubic', crop_pct=224 / 256)
    for start in range(0, len(paths), batch_size):
        yield torch.stack([transform(read_image(path)) for path in paths[start:start + batch_size]])


def _read_list(path: Path, folder: Path) -> List[Tuple[str, int]]:
    try:
        lines = [line.rsplit(maxsplit=1) for line in path.read_text().splitlines() if line.strip()]
        return [(str(folder / name), int(label)) for name, label in lines]
    except (OSError, ValueError) as error:
        raise UserError(f'list file {path} cannot be used ({error}): its lines are "PATH INDEX".') from error


def _first_of_each(samples: Sequence[Tuple[str, int]], count: int) -> List[Tuple[str, int]]:
    seen: Dict[int, int] = {}
    kept = []
    for path, label in samples:
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= count:
            kept.append((path, label))
    return kept
