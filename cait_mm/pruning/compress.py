"""Compression without training: merges as means, and a calibrated cut of channels."""
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.models import Backbone as CAITBackbone
from cait_mm.models import classifier_backbone
from cait_mm.models.checkpoint import HEAD_KEYS, read_checkpoint
from cait_mm.pruning.calibrate import Calibration, add_calibrated_compactors, calibrate, keep_means
from cait_mm.pruning.export import Compressed
from cait_mm.pruning.fold import PAD_TO, Folded, channel_scores, fold
from cait_mm.pruning.selection import select
from cait_mm.spec import Spec


def compress(spec: Spec, checkpoint: str, images: Iterable[Tensor], target: float, align: int = 1,
             pad_to: int = PAD_TO) -> Compressed:
    """Merge and cut a pretrained classifier without training.

    Args:
        spec: Full width, with the merges.
        checkpoint: The dense model's weights (official, timm).
        images: Batches (B, C, H, W) to calibrate on, normalised as in training; labels are not needed.
        target: Reduction of the classifier's MACs against the dense model, merges included.
        align, pad_to: As in :func:`~cait_mm.pruning.selection.select` and :func:`~cait_mm.pruning.fold.fold`.

    Raises:
        UserError: The checkpoint or the images cannot be used, or the target is out of reach.
    """
    backbone, loaded = classifier_backbone(spec).eval(), read_checkpoint(checkpoint)
    head = {key: value for key, value in loaded.state_dict.items() if key.startswith(HEAD_KEYS)}
    backbone.load_checkpoint(loaded)
    folded, calibration = cut_calibrated(backbone, images, target, align, pad_to)
    return Compressed(folded, head, dict(target=target, start='calibrated', calibration_images=calibration.images,
                                         source=Path(checkpoint).name))


def cut_calibrated(backbone: CAITBackbone, images: Iterable[Tensor], target: float, align: int = 1,
                   pad_to: int = PAD_TO) -> tuple[Folded, Calibration]:
    """Cut the channels that contribute least to ``images``; arguments are those of :func:`compress`.

    ``backbone`` is a classifier's, pretrained, at full width, with its merges in place. It is changed.

    Raises:
        UserError: It is pruned already, the images do not fit, or the target is out of reach.
    """
    if backbone.spec.is_pruned:
        raise UserError(f'this {backbone.arch.name} is pruned already: compress the dense model.')
    calibration = calibrate(backbone, images)
    add_calibrated_compactors(backbone, calibration)
    masks = select(backbone.spec, channel_scores(backbone), target, align=align)
    folded = fold(backbone, masks, tolerance=None, pad_to=pad_to)
    keep_means(folded.backbone, backbone, masks, calibration)
    return folded, calibration
