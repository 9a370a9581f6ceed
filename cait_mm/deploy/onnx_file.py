"""Models as ONNX files, and ONNX files as modules."""
import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.deploy.program import refusal, traced
from cait_mm.errors import UserError, reason_of
from cait_mm.ops.attention import set_fused_attn
from cait_mm.utils.files import atomic_path

EXTRAS = 'requirements/export.txt'


def save_onnx(module: nn.Module, shape: tuple[int, int], path: str | Path, about: dict[str, Any]) -> None:
    """Write an ONNX file with one input, ``images``, and ``about`` in its metadata.

    Attention is written out as products and softmax: ONNX Runtime fuses them itself.

    Raises:
        UserError: ONNX's packages are missing, the model cannot be converted, or the file cannot be written.
    """
    require_onnx()
    set_fused_attn(module, False)
    try:
        program = traced(module, shape)
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter('ignore')
            logging.getLogger('torch.onnx').setLevel(logging.ERROR)
            onnx = torch.onnx.export(program, dynamo=True, verbose=False, input_names=['images'])
    except UserError:
        raise
    except Exception as error:  # the exporter raises errors of any type
        raise refusal(error) from error
    finally:
        set_fused_attn(module, True)
    onnx.model.metadata_props.update({key: json.dumps(value) for key, value in about.items()})
    with atomic_path(path) as target:
        onnx.save(target)


def require_onnx() -> None:
    """Raises:
        UserError: A package of ``requirements/export.txt`` is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f'ONNX needs {error.name}, which is not installed: pip install -r {EXTRAS}.') from error


class OnnxModel(nn.Module):
    """An ONNX file as a module, run by ONNX Runtime on the CPU with PyTorch's number of threads.

    Its threads sleep while they wait: spinning ones would slow down whatever is timed in turn with them.

    Args:
        path: A file of :func:`save_onnx`; ``about`` is its metadata.

    Raises:
        UserError: ONNX Runtime is missing, or the file is damaged or not made by tools/export.py.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        require_onnx()
        import onnxruntime
        if not Path(path).is_file():
            raise UserError(f'{path} does not exist: tools/export.py makes it.')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
            stored = self.session.get_modelmeta().custom_metadata_map
            self.about = {key: json.loads(value) for key, value in stored.items()}
            self.shape: Sequence[int] = self.about['shape']
            self.in_channels = int(self.session.get_inputs()[0].shape[1])
        except Exception as error:  # ONNX Runtime's own exceptions are private
            raise UserError(f'{path} is no ONNX file of tools/export.py ({reason_of(error)}).') from error

    def forward(self, images: Tensor) -> list[Tensor]:
        if tuple(images.shape[-2:]) != tuple(self.shape):
            height, width = self.shape
            raise UserError(f'this ONNX file is for images of {height}x{width}, not '
                            f'{images.shape[-2]}x{images.shape[-1]}: give `shape=({height}, {width})`, or export it '
                            'for the other size.')
        return [torch.from_numpy(item) for item in self.session.run(None, {'images': images.numpy()})]
