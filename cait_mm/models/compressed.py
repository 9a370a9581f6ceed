"""Compressed checkpoints: weights with the spec that describes them."""
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.models.checkpoint import GRID_META, SPEC_META, VERSION_META
from cait_mm.ops.token_merge import Grid
from cait_mm.spec import Spec
from cait_mm.utils.files import atomic_path
from cait_mm.version import __version__


def compressed_content(state_dict: Mapping[str, Tensor], spec: Spec, grid: Grid | None = None,
                **meta: Any) -> dict[str, Any]:
    """``{'state_dict', 'meta': {'cait_spec', ...}}`` of tensors and plain types; ``grid`` is that of the positions."""
    stated = {} if grid is None else {GRID_META: list(grid)}
    return {'state_dict': dict(state_dict),
            'meta': {SPEC_META: spec.to_dict(), VERSION_META: __version__, **stated, **meta}}


def save_compressed(content: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write a compressed checkpoint, completely or not at all.

    Raises:
        UserError: The file cannot be written (a full disk, a missing right).
    """
    try:
        with atomic_path(path) as temporary:
            torch.save(content, temporary)
    except RuntimeError as error:  # of PyTorch's writer
        raise UserError(f'{path} could not be written ({error}): make room or choose another place '
                        f'({os.path.dirname(os.path.abspath(path))}).') from error
