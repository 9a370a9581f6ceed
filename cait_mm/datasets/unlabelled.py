"""Unlabelled pictures to tune on, for the pipelines of MMSegmentation and MMDetection."""
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from cait_mm.errors import UserError
from cait_mm.pruning.tune import LEAST_IMAGES
from cait_mm.utils.draws import order
from cait_mm.utils.images import find_images

MOST_HELD_OUT = 64
_OF_LABELS = ('FilterAnnotations', 'GenerateEdge', 'LoadProposals')
_OF_SEVERAL = ('CachedMixUp', 'CachedMosaic', 'CopyPaste', 'MixUp', 'Mosaic', 'RandomMosaic')


@DATASETS.register_module()
class UnlabelledImages(Dataset):
    """Pictures of a folder or a list, or slices of volumes; no other files are read.

    Args:
        images: A folder, a text file with a path on every line, or paths; addresses of slices
            (:func:`~cait_mm.datasets.slices.slice_uri`) too.
        pipeline: Transforms without labels (:func:`without_labels`).
        held_out: Whether to give the tenth (at most :data:`MOST_HELD_OUT`) that is held out, or all others.
        seed: Determines that choice.

    Raises:
        UserError: There are too few pictures.
    """

    def __init__(self, images: str | Sequence[str], pipeline: Sequence[Mapping[str, Any]], held_out: bool = False,
                 seed: int = 0) -> None:
        paths = image_list(images)
        if len(paths) < LEAST_IMAGES:
            raise UserError(f'tuning needs {LEAST_IMAGES} images at least, and there are {len(paths)}: some hundreds '
                            'are better.')
        mixed, count = [paths[index] for index in order(len(paths), seed, 0)], min(len(paths) // 10, MOST_HELD_OUT)
        self.paths = mixed[:count] if held_out else mixed[count:]
        self.pipeline = Compose(pipeline)
        self.metainfo: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.pipeline(dict(img_path=self.paths[index], img_id=index, seg_fields=[], instances=[]))


def image_list(images: str | os.PathLike | Sequence[str]) -> list[str]:
    """The paths that a folder, a text file or a list of paths names.

    Raises:
        UserError: The folder holds no pictures, or the file cannot be read.
    """
    return find_images(images) if isinstance(images, (str, os.PathLike)) else list(images)


def without_labels(pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A pipeline's config without the steps that need labels, and without the limit on one class in crops.

    Raises:
        UserError: A step joins several labelled pictures.
    """
    kept = []
    for step in pipeline:
        kind = str(getattr(step['type'], '__name__', step['type'])).rpartition('.')[2]
        if kind in _OF_SEVERAL:
            raise UserError(f'the training pipeline has {kind}, which joins labelled pictures: take it out for tuning.')
        if kind in _OF_LABELS or kind.startswith('Load') and 'Annotations' in kind:
            continue
        step = {key: value for key, value in step.items() if key != 'cat_max_ratio'}
        if 'transforms' in step:
            nested = step['transforms']
            step['transforms'] = ([without_labels(branch) for branch in nested] if nested
                                  and isinstance(nested[0], Sequence) else without_labels(nested))
        kept.append(step)
    return kept
