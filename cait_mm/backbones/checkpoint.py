"""Strict loading of pretrained ViTs: everything that was expected arrives, or an error lists what did not."""
import math
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cait_mm.backbones.formats import HEAD_KEYS, as_plain_vit, backbone_of, check_dimensions, find_weights
from cait_mm.errors import UserError
from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec
from cait_mm.utils.weights import load_file

CLASSIFIER_KEYS = ('head.', 'aux_head.', 'head_dist.', 'fc_norm.', 'pre_logits.')
"""What a classifier's checkpoint holds behind the backbone."""

__all__ = [
    'CLASSIFIER_KEYS', 'Checkpoint', 'HEAD_KEYS', 'LoadReport', 'WEIGHTS_PAGE', 'load_file', 'read_checkpoint',
    'resize_pos_embed', 'square_grid', 'strict_load'
]
WEIGHTS_PAGE = 'docs/prepare_data.md#weights'


@dataclass
class Checkpoint:
    """A file's weights under the backbone's own names, and the spec it carries, if it is an export of ours."""

    path: str
    state_dict: Dict[str, Tensor]
    spec: Optional[Spec] = None
    notes: List[str] = field(default_factory=list)
    """What reading it decided, as sentences for the log."""


@dataclass
class LoadReport:
    """What a strict load did; ``str()`` is the line that goes to the log."""

    path: str
    loaded: int
    unused: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        unused = f'; not used by this backbone: {", ".join(self.unused)}' if self.unused else ''
        return '; '.join([f'loaded {self.loaded} tensors from {self.path}', *self.notes]) + unused


def read_checkpoint(path: str) -> Checkpoint:
    """Read a local file or an address and find the backbone in it.

    Official checkpoints (``{'model': ...}``), timm's and Hugging Face's (a bare state dict, ``.safetensors``), exports
    of ours and OpenMMLab training checkpoints (``{'state_dict': {'backbone. ...'}}``) are understood, wrapped by DDP,
    ``torch.compile`` or Lightning or not. A classifier's head is kept, as ``head.``. Relatives of DeiT that a plain one
    can compute are converted (:func:`~cait_mm.backbones.formats.as_plain_vit`).

    Raises:
        UserError: The file is missing, damaged, holds no weights or those of a model that this package does not have.
    """
    path, content = str(path), load_file(path)
    found, notes = find_weights(path, content)
    weights = backbone_of(found)
    check_dimensions(path, weights)
    meta = content.get('meta')
    spec = meta.get('cait_spec') if isinstance(meta, Mapping) else None
    if spec is None and not any(key.startswith('backbone.') for key in found):
        weights, more = as_plain_vit(path, weights)
        notes += more
    return Checkpoint(path, weights, None if spec is None else _carried_spec(path, spec, weights), notes)


def _carried_spec(path: str, spec: Any, weights: Mapping[str, Tensor]) -> Spec:
    """The spec of an export, which describes no more than the file holds."""
    try:
        found = Spec.from_dict(spec)
    except UserError as error:
        raise UserError(f'checkpoint {path} carries a broken spec: {error}') from error
    held = sum(value.numel() for value in weights.values())
    if found.block_params > held:
        raise UserError(f'checkpoint {path} carries a spec of {found.block_params} parameters and holds {held}: it is '
                        'damaged, make it again.')
    return found


def resize_pos_embed(pos_embed: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
    """Resample a positional embedding bicubically to another grid; a CLS entry in front is kept.

    Args:
        pos_embed: (1, N, C) with N = old H * W, or one more where CLS comes first.
        old_grid: The grid (H, W) it was trained on.
        new_grid: The grid (H, W) it is needed on.
    """
    if tuple(old_grid) == tuple(new_grid):
        return pos_embed
    extra = pos_embed.shape[1] - old_grid[0] * old_grid[1]
    cls, grid = pos_embed[:, :extra], pos_embed[:, extra:]
    maps = grid.transpose(1, 2).unflatten(2, tuple(old_grid)).float()
    maps = F.interpolate(maps, size=tuple(new_grid), mode='bicubic', align_corners=False)
    return torch.cat([cls, maps.flatten(2).transpose(1, 2).to(pos_embed.dtype)], dim=1)


def square_grid(positions: int) -> Grid:
    """The grid of a square positional embedding.

    Raises:
        UserError: ``positions`` is no square number, so the grid must be stated.
    """
    side = math.isqrt(positions)
    if side * side != positions:
        raise UserError(f'the checkpoint\'s pos_embed has {positions} positions, which is no square: state the image '
                        'size it was trained at with arch=dict(..., img_size=(H, W)).')
    return side, side


def strict_load(module: torch.nn.Module, checkpoint: Checkpoint, unused: Sequence[str], optional: Sequence[str],
                notes: Sequence[str] = ()) -> LoadReport:
    """Copy a checkpoint into ``module``; every key has to match in name and shape.

    Args:
        module: The module to fill.
        checkpoint: Weights under the module's names.
        unused: Prefixes of checkpoint keys that this module has no use for (a classifier's head, say).
        optional: Prefixes of module keys that may be absent from the checkpoint (merges, in a dense one).
        notes: Sentences for the report.

    Raises:
        UserError: Lists every missing, unexpected and misshapen key; nothing was loaded.
    """
    own = module.state_dict()
    given = {key: value for key, value in checkpoint.state_dict.items()
             if key in own or not key.startswith(tuple(unused))}
    missing = [key for key in own if key not in given and not key.startswith(tuple(optional))]
    unexpected = [key for key in given if key not in own]
    misshapen = [f'{key} is {_shape(given[key])}, wanted {_shape(own[key])}' for key in given
                 if key in own and _shape(given[key]) != _shape(own[key])]
    problems = [f'{name}: {_listing(keys)}' for name, keys in
                (('missing', missing), ('unexpected', unexpected), ('misshapen', misshapen)) if keys]
    if problems:
        raise UserError(f'checkpoint {checkpoint.path} does not fit this backbone, nothing was loaded; '
                        f'{"; ".join(problems)}.')
    module.load_state_dict(given, strict=not optional)
    left = [key for key in checkpoint.state_dict if key not in given]
    return LoadReport(checkpoint.path, len(given), left, [*checkpoint.notes, *notes])


def _shape(value: Any) -> Tuple[int, ...]:
    return tuple(getattr(value, 'shape', ()))


def _listing(keys: List[str], most: int = 12) -> str:
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return ', '.join(keys[:most]) + more
