"""Strict loading of pretrained ViTs: everything that was expected arrives, or an error lists what did not."""
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.runner import CheckpointLoader
from torch import Tensor

from cait_mm.errors import UserError, reason_of
from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec

CLASSIFIER_KEYS = ('head.', 'aux_head.', 'head_dist.', 'fc_norm.', 'pre_logits.')
"""What a classifier's checkpoint holds behind the backbone."""
HEAD_KEYS = ('head.', 'aux_head.')
"""What of it our classifiers use."""

WEIGHTS_PAGE = 'docs/prepare_data.md#weights'


@dataclass
class Checkpoint:
    """A file's weights under the backbone's own names, and the spec it carries, if it is an export of ours."""

    path: str
    state_dict: Dict[str, Tensor]
    spec: Optional[Spec] = None


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


def load_file(path: str) -> Any:
    """The content of a local file or a URL, read with ``weights_only``.

    Raises:
        UserError: The file is missing or damaged.
    """
    path = str(path)
    if '://' not in path and not Path(path).is_file():
        what = 'is a folder, not a file' if Path(path).is_dir() else 'does not exist'
        raise UserError(f'checkpoint {path} {what}: see {WEIGHTS_PAGE} for how to get or make it.')
    try:
        return CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    except Exception as error:  # torch raises a dozen types for a damaged file
        raise UserError(f'checkpoint {path} cannot be read, it is damaged or no weights file ({reason_of(error)}): '
                        'fetch or make it again.') from error


def read_checkpoint(path: str) -> Checkpoint:
    """Read a local file or a URL and find the backbone in it.

    Official checkpoints (``{'model': ...}``), timm's (a bare state dict), exports of ours and OpenMMLab training
    checkpoints (``{'state_dict': {'backbone. ...'}}``) are understood. A classifier's head is kept, as ``head.``.

    Raises:
        UserError: The file is missing, truncated, or holds no weights.
    """
    path, content = str(path), load_file(path)
    weights = content
    for key in ('state_dict', 'model', 'module'):
        if isinstance(weights, Mapping) and isinstance(weights.get(key), Mapping):
            weights = weights[key]
            break
    if not isinstance(weights, Mapping) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f'checkpoint {path} holds no state_dict.')
    for prefix, beside in (('module.', ()), ('backbone.', HEAD_KEYS)):
        if any(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()
                       if key.startswith((prefix, *beside))}
    weights = {re.sub(r'^head\.fc\.', 'head.', key): value for key, value in weights.items()}  # timm's Swin
    meta = content.get('meta') or {}
    spec = meta.get('cait_spec') if isinstance(meta, Mapping) else None
    return Checkpoint(path, dict(weights), Spec.from_dict(spec) if spec else None)


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
    return LoadReport(checkpoint.path, len(given), left, list(notes))


def _shape(value: Any) -> Tuple[int, ...]:
    return tuple(getattr(value, 'shape', ()))


def _listing(keys: List[str], most: int = 12) -> str:
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return ', '.join(keys[:most]) + more
