"""Classifiers, segmentors and detectors, whatever their library: how they are built, and their parts as modules."""
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from cait_mm.backbones import BACKBONES
from cait_mm.classification import Classifier
from cait_mm.config.load import building, is_classifier, load_config
from cait_mm.errors import UserError
from cait_mm.models.checkpoint import read_checkpoint
from cait_mm.models.classifier import Classifier as PlainClassifier

PARTS = ('backbone', 'encoder', 'overall')


class Task(ABC):
    """A model of one task: its inputs and outputs, whatever its library. :func:`task_of` finds a model's task.

    Args:
        model: The model; it is not copied.
    """

    parts: ClassVar[tuple[str, ...]] = PARTS
    """Its parts that can be measured."""
    fixed: ClassVar[bool] = True
    """Whether the whole prediction is the same computation for every image of one size."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @property
    def shape(self) -> tuple[int, int]:
        """The default pixels (H, W) of its images."""
        return 512, 512

    @property
    def in_channels(self) -> int:
        """Channels of its images; 3 unless its backbone states them."""
        return getattr(getattr(self.model.backbone, 'arch', None), 'in_channels', 3)

    @abstractmethod
    def predict(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        """The whole prediction on a preprocessed batch (B, C, H, W).

        Args:
            x: The images.
            count: The number of images in the metadata for heads that need it; None is all.
        """


class Classification(Task):
    """Images -> logits (B, classes)."""

    parts = ('overall', )

    @property
    def shape(self) -> tuple[int, int]:
        return self.model.backbone.img_size

    def predict(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        return [self.model(x)]


class Segmentation(Task):
    """Images -> logits at their own size."""

    def predict(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        return [self.model.encode_decode(x, _metas(x, count))]


class Detection(Task):
    """Images -> raw outputs of the heads: boxes of all proposals, whose number depends on the weights, and masks of as
    many as the detector may return.
    """

    fixed = False

    def predict(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        from mmdet.structures import DetDataSample
        samples = [DetDataSample(metainfo=meta) for meta in _metas(x, count)]
        if getattr(self.model, 'with_rpn', False):
            return _tensors(_two_stages(self.model, x, samples))
        return _tensors(self.model.forward(x, samples, mode='tensor'))


def task_of(model: nn.Module) -> Task:
    """The task of a model.

    Raises:
        UserError: It is no classifier, segmentor or detector.
    """
    if isinstance(model, PlainClassifier):
        return Classification(model)
    if hasattr(model, 'encode_decode'):
        return Segmentation(model)
    if hasattr(model, 'extract_feat'):
        return Detection(model)
    raise UserError(f'{type(model).__name__} is no classifier, segmentor or detector: it has no extract_feat.')


class Backbone(nn.Module):
    """The backbone alone: image (B, C, H, W) -> its maps, restored."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.in_channels = model.backbone, task_of(model).in_channels

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(x))


class Encoder(nn.Module):
    """Backbone and neck: image (B, C, H, W) -> tuple of maps (the paper's "backbone, upsampling and downsampling")."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.in_channels = model, task_of(model).in_channels

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.extract_feat(x))


class Overall(nn.Module):
    """The whole prediction, see :meth:`Task.predict`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.task = model, task_of(model)
        self.in_channels = self.task.in_channels

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.task.predict(x)


def build_model(config: Config) -> nn.Module:
    """The config's model in eval mode on the CPU, with random weights and SyncBN as BN; nothing is downloaded.

    Raises:
        UserError: The config has no model of a segmentor or detector, or one that cannot be built.
    """
    if 'model' not in config:
        raise UserError('the config has no model.')
    scope = DefaultScope.get_current_instance()
    with (building('the model', config),
          MODELS.switch_scope_and_registry(scope.scope_name if scope else None) as registry):
        model = registry.build(config.model)
    task_of(model)
    return revert_sync_batchnorm(model).eval()


def load_model(path: str, cfg_options: Mapping[str, Any] | None = None) -> nn.Module:
    """The model of a config, with random weights and without CDCP; or the classifier in a compressed checkpoint.

    Raises:
        UserError: There is none.
    """
    if path.endswith('.py'):
        config = load_config(path, cfg_options)
        if is_classifier(config):
            config.model.update(cdcp=None, distillation=None)
        return build_model(config)
    checkpoint = read_checkpoint(path)
    if not checkpoint.is_compressed:
        raise UserError(f'{path} is no compressed checkpoint: give a config, or a file of tools/fold.py or '
                        'tools/compress.py.')
    classes = len(checkpoint.state_dict.get('head.weight', ()))
    backbone = BACKBONES[checkpoint.spec.arch.family].__name__
    model = Classifier(dict(type=backbone, spec=checkpoint.spec.to_dict()), num_classes=classes)
    model.load_pretrained(path)
    return model.eval()


def parts_of(model: nn.Module, names: Sequence[str] = ('encoder', 'overall')) -> dict[str, nn.Module]:
    """The parts of a model to measure, by their names in :data:`PARTS`: of ``names`` those that its task has, or
    overall.
    """
    wrappers = dict(zip(PARTS, (Backbone, Encoder, Overall)))
    present = [name for name in names if name in task_of(model).parts] or ['overall']
    return {name: wrappers[name](model) for name in present}


def _two_stages(model: nn.Module, x: Tensor, samples: Sequence[Any]) -> list[Any]:
    """The raw outputs of a two-stage detector for a prediction.

    The raw outputs of MMDetection hold masks of all 1000 proposals in a cascade, and of 100 in a whole batch elsewhere.
    """
    from mmdet.structures.bbox import bbox2roi
    features, head = model.extract_feat(x), model.roi_head
    proposals = model.rpn_head.predict(features, samples, rescale=False)
    counts, rois = tuple(map(len, proposals)), bbox2roi([item.bboxes for item in proposals])
    stages: list[tuple[int, ...]] = [()]
    if hasattr(head, 'num_stages'):
        rois, *outputs = head._refine_roi(features, rois, [sample.metainfo for sample in samples], counts)
        stages = [(stage,) for stage in range(head.num_stages)]
    else:
        outputs, rois = list(head._bbox_forward(features, rois).values()), rois.split(counts)
    if head.with_mask:
        returned = torch.cat([item[:model.test_cfg.rcnn.max_per_img] for item in rois])
        outputs += [head._mask_forward(*stage, features, returned)['mask_preds'] for stage in stages]
    return outputs


def _metas(x: Tensor, count: int | None) -> list[dict[str, Any]]:
    shape = tuple(int(side) for side in x.shape[-2:])
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1., 1.),
                padding_size=[0, 0, 0, 0])
    return [dict(meta) for _ in range(len(x) if count is None else count)]


def _tensors(outputs: Any) -> list[Tensor]:
    """Every tensor in nested lists, tuples, dicts and MMEngine instances, flattened."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    elif hasattr(outputs, 'all_items'):
        outputs = [value for _, value in outputs.all_items()]
    if isinstance(outputs, (list, tuple)):
        return [tensor for item in outputs for tensor in _tensors(item)]
    return []
