"""Loading transforms that check a file before the libraries decode it, and that name a file that cannot be loaded.

MMCV reports a broken picture without its name, opens named pipes, and with Pillow starts Ghostscript for PostScript
under the name of a ``.png``. :func:`guard` prevents that in built datasets of any library; undamaged pictures are still
decoded by the library.
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
    """MMEngine's local files with a check of pictures before decoding (``backend_args=dict(backend='guarded')``).

    Addresses (``s3://...``, ``slice://...``) are read by their own backends.
    """

    def get(self, filepath: str) -> bytes:
        """The bytes of a file.

        Raises:
            UserError: It is no regular file, or is refused by
                :func:`cait_mm.utils.pictures.require_picture_bytes`.
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
    """A loading transform whose errors name the file.

    Args:
        loader: A transform that reads the file of an item. If it uses MMEngine's default backend, it gets
            :class:`GuardedBackend` instead.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        own = (None, {}, dict(backend='local'))
        if getattr(loader, 'backend_args', '') in own and not getattr(loader, 'file_client_args', None):
            loader.backend_args = dict(backend='guarded')

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """The item with the loaded picture or label map.

        Raises:
            UserError: Something cannot be loaded; the message names the files.
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
        except Exception as error:  # OpenCV, Pillow, pycocotools and NumPy raise many types
            raise UserError(self._sentence(results, error)) from error

    def _sentence(self, results: Mapping[str, Any], error: Exception) -> str:
        # MMCV's message about a picture repeats its name and gives no reason
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
    """Check the run-length codes of an item of MMDetection: pycocotools may crash on a damaged one.

    Raises:
        ValueError: A code is damaged.
    """
    for instance in results.get('instances') or ():
        mask = instance.get('mask')
        if isinstance(mask, dict) and mask:
            trouble = mask_trouble(mask, results['height'], results['width'])
            if trouble:
                raise ValueError(trouble)


def _require_same_size(results: Mapping[str, Any]) -> None:
    """Check the size of an item's label map: crops of it and of a picture of another size would not match.

    Raises:
        ValueError: There is not one value for each pixel of the picture.
    """
    labels, size = results.get('gt_seg_map'), results.get('ori_shape')
    if labels is not None and size is not None and labels.shape != tuple(size[:2]):
        sides = ['x'.join(map(str, shape)) for shape in (labels.shape, size[:2])]
        raise ValueError(f'it is {sides[0]} and the picture {sides[1]}')


class GuardedPipeline:
    """A dataset's pipeline in which errors of the libraries' transforms name the picture.

    A setting of the wrong type shows only when a transform runs. Transforms from elsewhere keep their exceptions.

    Args:
        pipeline: A pipeline of MMEngine, whose attributes this object shares.
    """

    def __init__(self, pipeline: Compose) -> None:
        self.pipeline = pipeline

    def __call__(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """The item as the model gets it.

        Raises:
            UserError: A transform of a library fails.
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
    """Guard, in place, the pipelines and loading transforms of a dataset and of those that it wraps; returns it.

    A second call changes nothing. Afterwards Pillow refuses PostScript in this process, and OpenCV does not print its
    own messages about damaged pictures.
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
    """The step of a pipeline's config that loads the picture, in a list; empty if there is none."""
    return [step for step in pipeline or () if 'Load' in str(step.get('type')) and 'Image' in str(step.get('type'))][:1]


def read_size(dataset: Any, item: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of an item's picture as in training, read by the first transform of a guarded ``dataset``.

    A pipeline may ignore the EXIF orientation (``color_type='color_ignore_orientation'``).

    Raises:
        UserError: The picture cannot be read.
    """
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if isinstance(dataset, ImageFolder) or not steps:
        return read_image(item['img_path']).size[::-1]
    loaded = steps[0](dict(item))
    if loaded is None:  # ignore_empty: training skips it
        raise UserError(f'picture {item["img_path"]} cannot be read: remove it or get it again.')
    return loaded['img'].shape[:2]


def _parts(dataset: Any) -> Iterator[Any]:
    yield dataset
    for inner in (*(getattr(dataset, 'datasets', None) or ()), getattr(dataset, 'dataset', None)):
        if inner is not None:
            yield from _parts(inner)


def _guard_transforms(node: Any) -> None:
    """Replace the loading transforms in a pipeline and in pipelines inside it, as in test-time augmentation."""
    if isinstance(node, list):
        for index, step in enumerate(node):
            if type(step).__name__.startswith('Load'):
                node[index] = GuardedLoading(step)
            else:
                _guard_transforms(step)
    for inner in (getattr(node, 'transforms', None), getattr(node, 'subroutines', None)):
        if inner is not None:
            _guard_transforms(inner)
