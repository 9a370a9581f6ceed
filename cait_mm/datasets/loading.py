"""The libraries' loading transforms, made to look at a file before they decode it and to name it when they cannot.

MMCV leaves a broken picture without its name, opens named pipes, and starts Ghostscript for PostScript that is called
``.png`` where its backend is Pillow. :func:`guard` mends that in datasets that are built already, of any library;
the libraries still decode whole pictures themselves.
"""
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.fileio import LocalBackend, get_file_backend, register_backend

from cait_mm.datasets.coco_masks import mask_trouble
from cait_mm.datasets.images import ImageFolder
from cait_mm.errors import UserError, reason_of
from cait_mm.utils.inputs import forbid_postscript, require_file
from cait_mm.utils.pictures import read_image, require_picture_bytes

LIBRARIES = ('mmcv', 'mmdet', 'mmengine', 'mmseg')


class GuardedBackend(LocalBackend):
    """MMEngine's files (``backend_args=dict(backend='guarded')``), where pictures are looked at before decoding.

    Addresses (``s3://...``, ``slice://...``) are read by their own backends.
    """

    def get(self, filepath: str) -> bytes:
        """The bytes of a file.

        Raises:
            UserError: It is no regular file, or a picture that is not to be decoded
                (:func:`cait_mm.utils.pictures.require_picture_bytes`).
        """
        if '://' in str(filepath):
            content = get_file_backend(str(filepath)).get(filepath)
        else:
            require_file(filepath)
            content = super().get(filepath)
        require_picture_bytes(content, str(filepath))
        return content


register_backend('guarded', GuardedBackend, force=True)


class GuardedLoading(BaseTransform):
    """A loading transform whose failures name the file.

    Args:
        loader: A transform that reads the file of an item. Where it reads files by MMEngine's default, it is given
            :class:`GuardedBackend`.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        own = (None, {}, dict(backend='local'))
        if getattr(loader, 'backend_args', '') in own and not getattr(loader, 'file_client_args', None):
            loader.backend_args = dict(backend='guarded')

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """The item with the loaded picture or label map.

        Raises:
            UserError: Something cannot be loaded; the sentence names the files.
        """
        try:
            if getattr(self.loader, 'with_mask', False):
                _require_whole_codes(results)
            loaded = self.loader(results)
            if getattr(self.loader, 'with_seg', False) and loaded is not None:
                _require_same_size(loaded)
            return loaded
        except UserError:
            raise
        except Exception as error:  # OpenCV, Pillow, pycocotools and NumPy each have types of their own
            raise UserError(self._sentence(results, error)) from error

    def _sentence(self, results: Mapping[str, Any], error: Exception) -> str:
        # MMCV's own sentence about a picture names it again and gives no reason
        reason = 'damaged, or no picture' if 'failed to load image' in str(error) else reason_of(error)
        picture = f'picture {results.get("img_path")}'
        if 'Image' in type(self.loader).__name__:
            return f'{picture} cannot be read ({reason}): remove it or get it again.'
        path = results.get('seg_map_path') if getattr(self.loader, 'with_seg', True) else None
        what = f'label map {path} of {picture}' if path else f'annotations of {picture}'
        return f'{what} cannot be read ({reason}): mend or remove them.'

    def __repr__(self) -> str:
        return repr(self.loader)


def _require_whole_codes(results: Mapping[str, Any]) -> None:
    """Look at the run-length codes of an item of MMDetection: pycocotools may crash on a damaged one.

    Raises:
        ValueError: Says what is wrong.
    """
    for instance in results.get('instances') or ():
        mask = instance.get('mask')
        if isinstance(mask, dict) and mask:
            trouble = mask_trouble(mask, results['height'], results['width'])
            if trouble:
                raise ValueError(trouble)


def _require_same_size(results: Mapping[str, Any]) -> None:
    """Look at the label map of an item: crops of a picture and of a map of another size would not show the same place.

    Raises:
        ValueError: It is not one value per pixel of the picture.
    """
    labels, size = results.get('gt_seg_map'), results.get('ori_shape')
    if labels is not None and size is not None and labels.shape != tuple(size[:2]):
        sides = ['x'.join(map(str, shape)) for shape in (labels.shape, size[:2])]
        raise ValueError(f'it is {sides[0]} and the picture {sides[1]}')


class GuardedPipeline:
    """A dataset's pipeline in which the libraries' own transforms say on which picture they fail.

    A setting of another type than they expect shows only there. Other people's transforms keep their exceptions.

    Args:
        pipeline: MMEngine's; its attributes are this object's.
    """

    def __init__(self, pipeline: Compose) -> None:
        self.pipeline = pipeline

    def __call__(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """The item as the model gets it.

        Raises:
            UserError: A transform of a library fails on it.
        """
        path = item.get('img_path')
        for transform in self.pipeline.transforms:
            try:
                item = transform(item)
            except UserError:
                raise
            except Exception as error:
                if type(transform).__module__.partition('.')[0] not in LIBRARIES:
                    raise
                raise UserError(f'{type(transform).__name__} of the dataset\'s pipeline fails on picture {path} '
                                f'({reason_of(error)}): correct its settings, or remove the picture.') from error
            if item is None:
                return None
        return item

    def __getattr__(self, name: str) -> Any:
        if name == 'pipeline' or name.startswith('__'):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def __repr__(self) -> str:
        return repr(self.pipeline)


def guard(dataset: Any) -> Any:
    """Guard the pipelines of a dataset and of those that it wraps, and their loading transforms, in place; returns it.

    Doing so twice changes nothing. From then on Pillow refuses PostScript in this process, and OpenCV keeps to itself
    what the sentence says better.
    """
    forbid_postscript()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)
    for part in _parts(dataset):
        pipeline = getattr(part, 'pipeline', None)
        _guard_transforms(pipeline)
        if isinstance(pipeline, Compose):
            part.pipeline = GuardedPipeline(pipeline)
    return dataset


def loading_of(pipeline: Any) -> list[Mapping[str, Any]]:
    """The step of a pipeline's config that loads the picture, as a pipeline of one; empty where there is none."""
    return [step for step in pipeline or () if 'Load' in str(step.get('type')) and 'Image' in str(step.get('type'))][:1]


def read_size(dataset: Any, item: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of an item's picture as training reads it, by the first transform of a guarded ``dataset``.

    A pipeline may say that a turned picture stays unturned (``color_type='color_ignore_orientation'``).

    Raises:
        UserError: The picture cannot be read.
    """
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if isinstance(dataset, ImageFolder) or not steps:
        return read_image(item['img_path']).size[::-1]
    loaded = steps[0](dict(item))
    if loaded is None:  # ignore_empty: training passes over it
        raise UserError(f'picture {item["img_path"]} cannot be read: remove it or get it again.')
    return loaded['img'].shape[:2]


def _parts(dataset: Any) -> Iterator[Any]:
    yield dataset
    for inner in (*(getattr(dataset, 'datasets', None) or ()), getattr(dataset, 'dataset', None)):
        if inner is not None:
            yield from _parts(inner)


def _guard_transforms(node: Any) -> None:
    """Replace the loading transforms in a pipeline and in those inside it, as test-time augmentation has."""
    if isinstance(node, list):
        for index, step in enumerate(node):
            if type(step).__name__.startswith('Load'):
                node[index] = GuardedLoading(step)
            else:
                _guard_transforms(step)
    for inner in (getattr(node, 'transforms', None), getattr(node, 'subroutines', None)):
        if inner is not None:
            _guard_transforms(inner)
