"""Compression of a whole trained segmentor or detector, from config and checkpoint to config and checkpoint."""
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.backbones import BACKBONES
from cait_mm.compression.foreign import KINDS, as_ours
from cait_mm.compression.images import image_paths, input_size, load_crops
from cait_mm.compression.small_config import config_of, config_text, plain
from cait_mm.config.load import load_config
from cait_mm.datasets.root import move_data
from cait_mm.errors import UserError
from cait_mm.latency.cache import budget
from cait_mm.latency.measure import Measured
from cait_mm.latency.table import LatencyTable
from cait_mm.models.base import backbone_inside
from cait_mm.models.compressed import compressed_content, save_compressed
from cait_mm.models.formats import find_weights
from cait_mm.pruning.compensate import RIDGE
from cait_mm.pruning.compress import Compression, compress_inside
from cait_mm.pruning.fold import PAD_TO
from cait_mm.pruning.scores import CALIBRATED, Score
from cait_mm.pruning.search import Looked
from cait_mm.spec import Spec
from cait_mm.tasks import build_model, parts_of
from cait_mm.utils.files import atomic_path, write_json
from cait_mm.utils.weights import fitting, load_file

PARTS = ('backbone', 'overall')
NUM_IMAGES = 32
"""Pictures to calibrate on; each has as many tokens as dozens of images of a classifier."""
CONFIG, MODEL, RESULT = 'config.py', 'model.pth', 'result.json'


@dataclass(frozen=True)
class Compressed:
    """A trained model and its compressed self.

    Args:
        dense: The trained model, in eval mode.
        small: A copy with a smaller backbone, in eval mode. It may be trained before it is saved.
        config: Of ``small``.
        provenance: Its origin, in plain types: ``source``, ``target``, ``calibration_images``,
            ``selected_reduction``, ``largest_cut``, ``search``, ``dataset_meta``.
        img_size: Pixels (H, W) of the images that MACs are counted on.
    """

    dense: nn.Module
    small: nn.Module
    config: Config
    provenance: dict[str, Any]
    img_size: tuple[int, int]

    @property
    def spec(self) -> Spec:
        """The spec of the small backbone."""
        return backbone_inside(self.small).spec

    @cached_property
    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """MACs and parameters, ``counts['small']['backbone']['macs']``: of backbone and overall, before and after."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for name, model in (('dense', self.dense), ('small', self.small)):
            parts = parts_of(model, PARTS)
            image = torch.rand(1, backbone_inside(model).arch.in_channels, *self.img_size)
            counts[name] = {part: {'macs': count_macs(module, (image, ))[''], 'params': count_params(module)}
                            for part, module in parts.items()}
        return counts

    def result(self) -> dict[str, Any]:
        """Before and after, in plain types."""
        before, after = (self.counts[name]['backbone']['macs'] for name in ('dense', 'small'))
        return {**{key: value for key, value in self.provenance.items() if key != 'dataset_meta'},
                'img_size': list(self.img_size), 'spec': self.spec.to_dict(), 'reduction': 1 - after / before,
                **self.counts}

    def save(self, folder: str | os.PathLike) -> None:
        """Write ``config.py``, ``model.pth`` and ``result.json`` into ``folder``, the weights as they are now.

        Raises:
            UserError: A file cannot be written.
        """
        folder, backbone = Path(folder), backbone_inside(self.small)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {key: value.detach().cpu() for key, value in self.small.state_dict().items()}
        save_compressed(compressed_content(weights, self.spec, backbone.grid, **self.provenance), folder / MODEL)
        result = self.result()
        with atomic_path(folder / CONFIG) as temporary:
            temporary.write_text(config_text(self.config, result), encoding='utf-8')
        write_json(folder / RESULT, result)


def compress_model(config: str | Config, checkpoint: str, images: Any, target: float | None, *,
                   speedup: float | None = None, latency: None | str | os.PathLike | LatencyTable = None,
                   merge: Sequence[tuple[int | str, str]] | None = None, align: int | None = None, pad_to: int = PAD_TO,
                   num_images: int | None = None, weighted: bool = True, proportional: bool = True,
                   ridge: float = RIDGE, restore_mode: str | None = None, search: int = 0,
                   score: str | Score = CALIBRATED,
                   cfg_options: Mapping[str, Any] | None = None, data_root: str | None = None,
                   progress: Callable[[Looked], None] | None = None,
                   measuring: Callable[[Measured], None] | None = None) -> Compressed:
    """Merge tokens and cut channels of a trained segmentor or detector without labels.

    Args:
        config: Its config, or the path of it.
        checkpoint: Trained with it.
        images: To calibrate on: a folder, a list of files, batches (B, C, H, W) normalised as in training, or None for
            the config's own training split, whose labels are not read.
        target: The share of the backbone's MACs to save on images of the config's size; 0 converts alone.
        speedup, latency: Instead of ``target``: how many times as fast the backbone is to be, and the table of its
            times (:func:`~cait_mm.latency.cache.budget`).
        merge, align, pad_to, weighted, proportional, ridge, restore_mode, search, score: See
            :class:`~cait_mm.pruning.compress.Compression`. ``align=None`` cuts to the multiples that widths are padded
            to.
        num_images: How many pictures to look at; None is :data:`NUM_IMAGES`.
        cfg_options: Changes to the config.
        data_root: See :func:`~cait_mm.datasets.root.move_data`.
        progress: Called after every candidate of a search.
        measuring: Called while a table is measured.

    Raises:
        UserError: The config has no backbone that can be compressed, the checkpoint is not from a training of it,
            images cannot be read, or the target is out of reach.
    """
    config = load_config(config, cfg_options) if isinstance(config, str) else deepcopy(config)
    if data_root is not None:
        move_data(config, data_root)
    dense, meta = load_trained(config, checkpoint)
    size = input_size(config, dense)
    target, table = budget(dense, size, target, speedup, latency, restore_mode=restore_mode, progress=measuring)
    how = Compression(target, merge, align or pad_to or 1, pad_to, weighted, proportional, ridge, restore_mode, search,
                      score, table)
    batches = () if how.changes_nothing else _batches(config, images, size, num_images or NUM_IMAGES)
    small, folded, provenance = compress_inside(dense, batches, how, size, progress)
    provenance = {'source': Path(checkpoint).name, 'config': Path(config.filename or '').name, **provenance}
    if meta.get('dataset_meta'):
        provenance['dataset_meta'] = plain(meta['dataset_meta'])
    return Compressed(dense, small, config_of(config, folded.backbone), provenance, size)


def load_trained(config: Config, checkpoint: str) -> tuple[nn.Module, Mapping[str, Any]]:
    """The config's model in eval mode with all weights of a training checkpoint, and the meta of the checkpoint.

    Args:
        config: Changed in place: its backbone's ``init_cfg`` and ``pretrained`` are taken out, and a ViT or Swin of
            MMSegmentation or MMDetection becomes one of this package.
        checkpoint: The file.

    Raises:
        UserError: The config has no backbone of this package, or the weights do not fit.
    """
    model = config.get('model') or {}
    backbone = model.get('backbone') or {}
    kinds = [kind.__name__ for kind in BACKBONES.values()]
    converted = as_ours(backbone)
    if converted is None and backbone.get('type') not in kinds:
        raise UserError(f'config {config.filename} has a backbone of the type {backbone.get("type")}, which cannot be '
                        f'compressed: it has to be one of {", ".join([*kinds, *KINDS])}.')
    content = load_file(checkpoint)
    weights, _ = find_weights(checkpoint, content)
    if converted is None:
        backbone.init_cfg = None
    else:
        model.backbone = ConfigDict(converted)
    if 'pretrained' in model:
        model.pretrained = None
    built = build_model(config)
    with fitting(checkpoint):
        built.load_state_dict(weights)
    meta = content.get('meta')
    return built, meta if isinstance(meta, Mapping) else {}


def _batches(config: Config, images: Any, size: tuple[int, int], count: int) -> Iterable[Tensor]:
    if isinstance(images, (list, tuple)) and images and isinstance(images[0], Tensor):
        return images
    return load_crops(config, image_paths(config, images, count), size)
