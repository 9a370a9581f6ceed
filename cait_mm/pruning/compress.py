"""Compression without training: merges as means, a calibrated cut, and an export."""
from pathlib import Path
from typing import Any

from cait_mm.backbones import classifier_backbone
from cait_mm.backbones.checkpoint import HEAD_KEYS, read_checkpoint
from cait_mm.pruning.calibrate import add_calibrated_compactors, calibrate, keep_means
from cait_mm.pruning.export import make_export
from cait_mm.pruning.fold import PAD_TO, Folded, channel_scores, fold
from cait_mm.pruning.selection import select
from cait_mm.spec import Spec
from cait_mm.utils.images import load_batches


def compress(spec: Spec, checkpoint: str, images: list[Path], target: float, align: int = 1,
             pad_to: int = PAD_TO) -> tuple[dict[str, Any], Folded]:
    """Merge and cut a pretrained classifier without training.

    Args:
        spec: Full width, with the merges.
        checkpoint: The dense model's weights (official, timm).
        images: What to calibrate on.
        target: Reduction of the classifier's MACs against the dense model, merges included.
        align, pad_to: As in :func:`~cait_mm.pruning.selection.select` and :func:`~cait_mm.pruning.fold.fold`.

    Returns:
        An export, see :func:`~cait_mm.pruning.export.make_export`, and what the fold did.

    Raises:
        UserError: The checkpoint or an image cannot be used, or the target is out of reach.
    """
    backbone = classifier_backbone(spec).eval()
    loaded = read_checkpoint(checkpoint)
    head = {key: value for key, value in loaded.state_dict.items() if key.startswith(HEAD_KEYS)}
    backbone.load_checkpoint(loaded)
    calibration = calibrate(backbone, load_batches(images, spec.arch.img_size[0]))
    add_calibrated_compactors(backbone, calibration)
    masks = select(spec, channel_scores(backbone), target, align=align)
    folded = fold(backbone, masks, tolerance=None, pad_to=pad_to)
    keep_means(folded.state_dict, backbone, masks, calibration)
    export = make_export({**folded.state_dict, **head}, folded.spec, backbone.grid, target=target, start='calibrated',
                         calibration_images=len(images), source=Path(checkpoint).name)
    return export, folded
