"""Compression without training: merges as means, a calibrated cut, and an export."""
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Union

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from cait_mm.backbones import CAITDeiT
from cait_mm.backbones.checkpoint import read_checkpoint
from cait_mm.errors import UserError
from cait_mm.pruning.calibrate import add_calibrated_compactors, calibrate, keep_means
from cait_mm.pruning.fold import channel_scores, fold
from cait_mm.pruning.selection import select
from cait_mm.spec import Spec
from cait_mm.utils.files import atomic_path
from cait_mm.version import __version__

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


def find_images(folder: Union[str, Path], count: int) -> List[Path]:
    """``count`` images below ``folder``, evenly spread over the sorted list of all.

    Raises:
        UserError: There are none.
    """
    found = sorted(path for path in Path(folder).rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise UserError(f'there are no images below {folder}: give a folder of a few dozen, labels are not needed.')
    step = max(1, len(found) / count)
    return [found[int(i * step)] for i in range(min(count, len(found)))]


def load_batches(paths: List[Path], size: int, batch_size: int = 16) -> Iterator[Tensor]:
    """Images resized (bicubic), cropped to ``size`` and normalised as ImageNet's, in batches (B, 3, size, size)."""
    transform = create_transform(size, interpolation='bicubic', crop_pct=224 / 256)
    for start in range(0, len(paths), batch_size):
        batch = []
        for path in paths[start:start + batch_size]:
            try:
                batch.append(transform(Image.open(path).convert('RGB')))
            except OSError as error:
                raise UserError(f'image {path} cannot be read ({error}): remove or replace it.') from error
        yield torch.stack(batch)


def compress(spec: Spec, checkpoint: str, images: List[Path], target: float, align: int = 1,
             pad_heads_to: Optional[int] = None) -> Dict[str, Any]:
    """Merge and cut a pretrained classifier without training.

    Args:
        spec: Full width, with the merges.
        checkpoint: The dense model's weights (official, timm).
        images: What to calibrate on.
        target: Reduction of the classifier's MACs against the dense model, merges included.
        align, pad_heads_to: As in :func:`~cait_mm.pruning.selection.select` and :func:`~cait_mm.pruning.fold.fold`.

    Returns:
        An export: ``{'state_dict', 'meta': {'cait_spec', ...}}`` of tensors and plain types.

    Raises:
        UserError: The checkpoint or an image cannot be used, or the target is out of reach.
    """
    backbone = CAITDeiT(spec=spec, out_indices=(-1,), final_norm=True).eval()
    loaded = read_checkpoint(checkpoint)
    head = {key: value for key, value in loaded.state_dict.items() if key.startswith('head.')}
    backbone.load_checkpoint(loaded)
    calibration = calibrate(backbone, load_batches(images, spec.arch.img_size[0]))
    add_calibrated_compactors(backbone, calibration)
    masks = select(spec, channel_scores(backbone), target, align=align)
    folded = fold(backbone, masks, tolerance=None, pad_heads_to=pad_heads_to)
    keep_means(folded.state_dict, backbone, masks, calibration)
    return {'state_dict': {**folded.state_dict, **head},
            'meta': {'cait_spec': folded.spec.to_dict(), 'cait_mm_version': __version__, 'target': target,
                     'start': 'calibrated', 'calibration_images': len(images), 'source': Path(checkpoint).name}}


def save_export(export: Dict[str, Any], path: Union[str, Path]) -> None:
    """Write an export whole or not at all.

    Raises:
        UserError: The file cannot be written (a full disk, a missing right).
    """
    try:
        with atomic_path(path) as temporary:
            torch.save(export, temporary)
    except (OSError, RuntimeError) as error:
        raise UserError(f'{path} could not be written ({error}): make room or choose another place '
                        f'({os.path.dirname(os.path.abspath(path))}).') from error
