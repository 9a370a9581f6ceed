"""ONNX files in 8 bits: products and convolutions of whole numbers, with scales from some dozens of images."""
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.deploy.onnx_file import require_onnx
from cait_mm.deploy.proof import listed
from cait_mm.errors import UserError, reason_of
from cait_mm.utils.files import atomic_path

QUANTIZED = ('MatMul', 'Gemm', 'Conv')
"""The operators that become whole numbers; softmax, norms and activations stay."""


class _Reader:
    """Batches as ONNX Runtime's calibration asks for them."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.batches: Iterator[Tensor] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {'images': batch.numpy()}


def save_int8(path: str | Path, target: str | Path, batches: Iterable[Tensor]) -> None:
    """Write the 8-bit form of an ONNX file of :func:`~cait_mm.deploy.onnx_file.save_onnx`, metadata included.

    Weights have a scale for every output channel, activations one for each tensor, which covers what the images show
    (ONNX Runtime's static quantization, minimum and maximum).

    Args:
        path: The file.
        target: The file to write.
        batches: Normalised images (B, C, H, W) to calibrate on.

    Raises:
        UserError: ONNX's packages are missing, the file cannot be quantized, or the new one cannot be written.
    """
    require_onnx()
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    root, level = logging.getLogger(), logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder, atomic_path(target) as result:
        ready = Path(folder) / 'ready.onnx'
        try:
            root.setLevel(logging.ERROR)
            quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
            quantize_static(str(ready), str(result), _Reader(batches), op_types_to_quantize=list(QUANTIZED),
                            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
            model = onnx.load(result)
            del model.metadata_props[:]  # the quantizer adds some of its own
            model.metadata_props.extend(onnx.load(path).metadata_props)
            onnx.save(model, result)
        except Exception as error:  # the quantizer raises errors of any type
            raise UserError(f'{path} cannot be quantized ({reason_of(error)}).') from error
        finally:
            root.setLevel(level)


@torch.no_grad()
def compared(module: nn.Module, other: nn.Module, batches: Sequence[Tensor], logits: bool) -> dict[str, float]:
    """How far the outputs of ``other`` are from those of ``module``.

    Args:
        module, other: Both take images.
        batches: Normalised images (B, C, H, W).
        logits: Whether the output is one of logits (B, classes, ...).

    Returns:
        ``error``, the norm of the differences as a share of the norm of the outputs, and of logits ``agreement``, the
        share of images or pixels with the same arg-max.
    """
    pairs = [pair for batch in batches for pair in zip(*(listed(item(batch)) for item in (module, other)))]
    apart = sum(float((mine - theirs).double().square().sum()) for mine, theirs in pairs)
    error = (apart / sum(float(mine.double().square().sum()) for mine, _ in pairs))**0.5
    if not logits:
        return {'error': error}
    same = torch.cat([(mine.argmax(1) == theirs.argmax(1)).flatten() for mine, theirs in pairs])
    return {'error': error, 'agreement': float(same.double().mean())}
