"""Unlabelled pictures as inputs of a config's model: listed, cropped to its input size, and normalised."""
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS
from PIL import Image
from torch import Tensor, nn

from cait_mm.datasets.check_files import datasets_of
from cait_mm.datasets.slices import SCHEME, slice_at
from cait_mm.datasets.unlabelled import image_list
from cait_mm.errors import UserError
from cait_mm.models.arguments import checked_size
from cait_mm.models.base import backbone_inside
from cait_mm.utils.images import spread, walk_images
from cait_mm.utils.pictures import read_image

BATCH_SIZE = 4


def image_paths(config: Mapping[str, Any], images: str | Path | Sequence[str | Path] | None,
                count: int | None = None) -> list[str]:
    """``count`` pictures (None: all), evenly spread over the sorted list.

    Args:
        config: Its own training split serves where ``images`` is None; labels are not read. Slices of volumes are given
            by their addresses (:func:`~cait_mm.datasets.slices.slice_uri`).
        images: A folder, a text file with a path on every line, or the files.
        count: How many.

    Raises:
        UserError: There are no pictures.
    """
    if images is not None:
        paths = image_list(images)
    else:
        splits = {_folder(dataset): dataset for dataset in _training_datasets(config)}
        paths = [path for folder, dataset in splits.items() for path in _pictures(folder, dataset)]
        if not paths:
            where = ' or '.join(filter(None, splits)) or 'its training split, which names no folder'
            raise UserError(f'there are no images below {where}: give a folder of some dozens with --images, labels '
                            'are not needed.')
    return spread(paths, len(paths) if count is None else count)


def input_size(config: Mapping[str, Any], model: nn.Module) -> tuple[int, int]:
    """Pixels (H, W) of the images that a config trains its model on: the size of its crops or of resized pictures, or
    the size for which the backbone has positions.
    """
    size = (config.get('model', {}).get('data_preprocessor') or {}).get('size')
    if size is not None:
        return checked_size('data_preprocessor.size', size)
    loader = config.get('train_dataloader') or config.get('test_dataloader') or {}
    for dataset in datasets_of(loader.get('dataset')):
        scales = [_scale(step) for step in dataset.get('pipeline') or () if isinstance(step, Mapping)]
        scale = next(filter(None, scales), None)
        if scale:
            return scale
    return backbone_inside(model).img_size


def load_crops(config: Mapping[str, Any], paths: Sequence[str], size: tuple[int, int],
               batch_size: int = BATCH_SIZE) -> Iterator[Tensor]:
    """Pictures scaled to cover ``size`` (H, W), cropped to it in the middle and normalised as the config's
    ``data_preprocessor`` does, in batches (B, 3, H, W).

    Raises:
        UserError: A picture cannot be read, or the model takes no colour pictures.
    """
    settings = config.get('model', {}).get('data_preprocessor') or {}
    mean, std = (torch.tensor(settings.get(key) or [default] * 3).float()
                 for key, default in (('mean', 0.), ('std', 1.)))
    if len(mean) != 3:
        raise UserError(f'the model takes images of {len(mean)} channels, and pictures of a folder have 3: compress it '
                        'from Python (cait_mm.compress) with tensors.')
    turned = settings.get('bgr_to_rgb') or settings.get('rgb_to_bgr')  # MMCV reads BGR
    for start in range(0, len(paths), batch_size):
        pictures = [covering(picture_at(path), size) for path in paths[start:start + batch_size]]
        batch = torch.from_numpy(np.stack(pictures)).float()
        yield (((batch if turned else batch.flip(-1)) - mean) / std).permute(0, 3, 1, 2).contiguous()


def _training_datasets(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return datasets_of((config.get('train_dataloader') or {}).get('dataset'))


def _folder(dataset: Mapping[str, Any]) -> str:
    """The folder of pictures that a dataset names, or an empty string."""
    prefix = dataset.get('data_prefix') or {}
    inside = (prefix.get('img_path') or prefix.get('img') or '') if isinstance(prefix, Mapping) else prefix
    return posixpath.join(dataset.get('data_root') or '', inside).rstrip('/')


def _pictures(folder: str, dataset: Mapping[str, Any]) -> list[str]:
    """The pictures below a folder. Where it holds none, the items of the dataset: slices of volumes."""
    pictures = list(walk_images(folder)) if folder else []
    if pictures or not os.path.isdir(folder):
        return pictures
    moved = {**dataset, 'data_root': os.path.abspath(dataset.get('data_root') or ''), 'pipeline': []}
    items = DATASETS.build(moved)
    return [items.get_data_info(index)['img_path'] for index in range(len(items))]


def _scale(step: Mapping[str, Any]) -> tuple[int, int] | None:
    """The (H, W) of pictures after a step of a pipeline, or None. MMCV writes (W, H), and (H, W) for crops."""
    if step.get('type') == 'RandomCrop' and step.get('crop_type', 'absolute') == 'absolute':
        return checked_size('crop_size', step.get('crop_size'))
    scale = step.get('scale') if step.get('type') in ('Resize', 'FixScaleResize') else None
    return (scale[1], scale[0]) if isinstance(scale, (list, tuple)) else None


def picture_at(path: str) -> Image.Image:
    """The RGB picture in a file, or the slice of a volume at its address."""
    return Image.fromarray(slice_at(path)).convert('RGB') if path.startswith(SCHEME) else read_image(path)


def covering(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """RGB (H, W, 3) of exactly ``size``, from the middle of the scaled picture."""
    height, width = size
    factor = max(height / image.height, width / image.width)
    scaled = max(width, round(image.width * factor)), max(height, round(image.height * factor))
    image = image if scaled == image.size else image.resize(scaled, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))
