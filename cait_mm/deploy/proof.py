"""The proof that a saved model computes the same as the model itself."""
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cait_mm.deploy.onnx_file import OnnxModel
from cait_mm.deploy.program import example

SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
TOLERANCE = 1e-4
"""The largest difference of an output in fp32, relative to its largest value where that exceeds 1."""


def load_saved(path: str | Path, form: str) -> nn.Module:
    """The written file, as a module of images."""
    return OnnxModel(path) if form == 'onnx' else torch.export.load(path).module()


def difference(module: nn.Module, saved: nn.Module, shape: tuple[int, int], batches: Sequence[int] = (1, 3)) -> float:
    """How far outputs on random images lie apart at most, relative to the largest value where that exceeds 1.

    NaN where one of them is NaN, infinite where an output is missing or of another shape.
    """
    apart = []
    for batch in batches:
        images = example(module, batch, shape)
        with torch.no_grad():
            expected, actual = (listed(item(images)) for item in (module, saved))
        if [item.shape for item in expected] != [item.shape for item in actual]:
            return float('inf')
        apart += [(mine - theirs).abs().max() / mine.abs().max().clamp(min=1) for mine, theirs in zip(expected, actual)]
    return torch.stack(apart).max().item()


def listed(outputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a module, which may be one."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)
