"""A trained model and what it sees in a picture, as its config's test pipeline reads it."""
import colorsys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS
from PIL import Image
from timm.data import create_transform
from torch import Tensor, nn

from cait_mm.analysis.boxes import Boxes, sure_boxes
from cait_mm.analysis.classes import class_names
from cait_mm.compression.images import input_size
from cait_mm.config.load import load_config
from cait_mm.datasets.check_files import datasets_of
from cait_mm.datasets.unlabelled import without_labels
from cait_mm.errors import UserError
from cait_mm.tasks import Classification, Segmentation, load_trained, task_of
from cait_mm.utils.pictures import read_image
from cait_mm.utils.weights import load_file

LARGER = 4
"""A picture with more than this many times the pixels of a training picture is scaled down, unless the test pipeline
scales pictures itself: attention over a photo of twelve megapixels takes minutes."""


@dataclass
class Predictor(ABC):
    """A model of one task.

    Args:
        name: What people call it.
        model: In eval mode.
        config: Its own.
        classes: Their names.
        colours: RGB of each.
    """

    name: str
    model: nn.Module
    config: Config
    classes: Sequence[str]
    colours: Sequence[Sequence[int]]

    kind: ClassVar[str]

    @abstractmethod
    def inputs(self, path: str) -> Any:
        """What ``model.test_step`` takes, for the picture in a file."""

    @abstractmethod
    def seen(self, output: Any) -> Any:
        """What the model sees, from the output of ``model.test_step``."""

    def fitting_picture(self, path: str) -> Image.Image:
        """The picture in a file, scaled down if it is much larger than those of the training.

        Raises:
            UserError: It is no picture, or a damaged one.
        """
        return read_image(path)


class Classifier(Predictor):
    """Sees probabilities (classes,)."""

    kind = 'classifier'

    def inputs(self, path: str) -> dict[str, Tensor]:
        settings = _test_dataset(self.config).get('transform') or {'input_size': self.model.backbone.img_size[0]}
        return dict(inputs=create_transform(**settings)(read_image(path))[None])

    def seen(self, output: Any) -> Tensor:
        return output[0]['scores'].float().cpu()


class _OpenMMLab(Predictor):

    def inputs(self, path: str) -> Any:
        pipeline = Compose(without_labels(_test_dataset(self.config)['pipeline']))
        return pseudo_collate([pipeline(dict(img_path=path, img_id=0, seg_fields=[], instances=[]))])

    def fitting_picture(self, path: str) -> Image.Image:
        picture, (height, width) = read_image(path), input_size(self.config, self.model)
        scales = any('Resize' in str(step.get('type')) for step in _test_dataset(self.config)['pipeline'])
        factor = (LARGER * height * width / (picture.width * picture.height))**0.5
        if scales or factor >= 1:
            return picture
        return picture.resize((max(1, round(factor * picture.width)), max(1, round(factor * picture.height))),
                              Image.Resampling.BICUBIC)


class Segmentor(_OpenMMLab):
    """Sees the class of every pixel (H, W)."""

    kind = 'segmentor'

    def seen(self, output: Any) -> np.ndarray:
        return output[0].pred_sem_seg.data[0].cpu().numpy()


class Detector(_OpenMMLab):
    """Sees :class:`Boxes`."""

    kind = 'detector'

    def seen(self, output: Any) -> Boxes:
        return sure_boxes(output[0].pred_instances)


def load_predictor(config: str, checkpoint: str, name: str, device: str = 'cpu') -> Predictor:
    """The model of a config with a checkpoint of its training, or of tools/fold.py or tools/compress.py.

    Raises:
        UserError: They do not fit each other, or the config has no data set whose pipeline reads pictures.
    """
    model, settings = load_trained(config, checkpoint).to(device), load_config(config)
    task = task_of(model)
    kind = {Classification: Classifier, Segmentation: Segmentor}.get(type(task), Detector)
    if kind is not Classifier and not _test_dataset(settings).get('pipeline'):
        raise UserError(f'config {config} has no test_dataloader with a pipeline, so it is unknown how pictures are '
                        'read.')
    if task.in_channels != 3:
        raise UserError(f'{config} takes images of {task.in_channels} channels, and pictures have 3.')
    described = _described(settings, load_file(checkpoint))
    known = described.get('classes')
    classes = class_names(_count(model) or len(known or ()), known)
    palette = described.get('palette')
    if palette is None or isinstance(palette, str) or len(palette) < len(classes):
        palette = spread_colours(len(classes))
    return kind(name, model, settings, classes, [tuple(map(int, colour)) for colour in palette])


def spread_colours(count: int) -> list[tuple[int, int, int]]:
    """Colours of different hues."""
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(index * 0.618 % 1, 0.7, 0.9))
            for index in range(count)]


def _test_dataset(config: Config) -> Mapping[str, Any]:
    """The first data set that is tested, or validated, on."""
    for loader in ('test_dataloader', 'val_dataloader'):
        for node in datasets_of((config.get(loader) or {}).get('dataset')):
            if 'pipeline' in node or 'transform' in node:
                return node
    return {}


def _described(config: Config, content: Any) -> Mapping[str, Any]:
    """What is known about the classes: from the checkpoint, or from the config's data set."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    for key in ('dataset_meta', 'classes'):  # the latter in compressed classifiers
        found = (meta or {}).get(key)
        if isinstance(found, Mapping) and found.get('classes') is not None:
            return found
    node = _test_dataset(config)
    with DATASETS.switch_scope_and_registry(config.get('default_scope', 'mmengine')) as registry:
        kind = registry.get(node['type']) if isinstance(node.get('type'), str) else node.get('type')
    return {**getattr(kind, 'METAINFO', {}), **(node.get('metainfo') or {})}


def _count(model: nn.Module) -> int | None:
    """How many classes a classifier or segmentor tells apart; a detector's head says it in many ways."""
    head = getattr(model, 'decode_head', None)
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    return getattr(model, 'num_classes', None) or getattr(head, 'num_classes', None)
