"""Models as ``torch.export`` programs."""
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.errors import UserError, reason_of
from cait_mm.utils.files import atomic_path


def example(module: nn.Module, batch: int, shape: tuple[int, int]) -> Tensor:
    """Random images (batch, C, H, W) of ``shape`` (H, W) and of as many channels as ``module`` says, or 3."""
    return torch.rand(batch, getattr(module, 'in_channels', 3), *shape)


def traced(module: nn.Module, shape: tuple[int, int]) -> torch.export.ExportedProgram:
    """The program of ``module`` for images of ``shape`` (H, W) in batches of any size.

    Raises:
        UserError: The model does something that cannot be traced; the message names it.
    """
    batch = torch.export.Dim('batch', min=1, max=4096)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return torch.export.export(module, (example(module, 2, shape),), dynamic_shapes=({0: batch},))
    except Exception as error:  # torch.export raises errors of any type
        raise refusal(error) from error


def refusal(error: Exception) -> UserError:
    return UserError(f'this cannot be exported ({reason_of(error)}): heads with operators of MMCV such as '
                     'deformable attention have no place in the format; `part=backbone` leaves the head out.')


def save_program(module: nn.Module, shape: tuple[int, int], path: str | Path, about: dict[str, Any]) -> None:
    """Write a ``torch.export`` archive (``torch.export.load`` reads it) with ``about`` inside as ``about.json``.

    Raises:
        UserError: As :func:`traced`, or the file cannot be written.
    """
    program = traced(module, shape)
    with atomic_path(path) as target:
        torch.export.save(program, target, extra_files={'about.json': json.dumps(about)})
