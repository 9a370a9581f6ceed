"""Models as ONNX and torch.export programs: what is saved, and the proof that it computes the same."""
import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn.utils.fuse_conv_bn import fuse_conv_bn
from torch import Tensor, nn

from cait_mm.analysis.parts import Backbone
from cait_mm.classification import Classifier
from cait_mm.errors import UserError, reason_of
from cait_mm.ops.attention import set_fused_attn
from cait_mm.utils.files import atomic_path

PARTS = ('whole', 'backbone')
SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
TOLERANCE = 1e-4
"""What an output may differ by in fp32, relative to its largest value where that exceeds 1."""
EXTRAS = 'requirements/export.txt'


class Whole(nn.Module):
    """A classifier or segmentor without what only training needs: normalised images (B, 3, H, W) -> logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(self.model, Classifier):
            return self.model(images)
        shape = tuple(images.shape[-2:])
        return self.model.encode_decode(images, [dict(img_shape=shape, ori_shape=shape, pad_shape=shape)])


def deployed(model: nn.Module) -> nn.Module:
    """``model`` without what only training needs, changed in place: in eval mode, batch norms folded into convolutions,
    auxiliary heads dropped.
    """
    if getattr(model, 'auxiliary_head', None) is not None:
        del model.auxiliary_head
    return fuse_conv_bn(model.eval())


def deployable(model: nn.Module, part: str) -> nn.Module:
    """The part of ``model`` to export, see :func:`deployed`.

    Raises:
        UserError: The whole of a detector was asked for.
    """
    if part == 'whole' and not isinstance(model, Classifier) and not hasattr(model, 'encode_decode'):
        raise UserError('a detector\'s proposals and suppression differ from picture to picture, which no fixed graph '
                        'holds: export its backbone with --part backbone.')
    return {'whole': Whole, 'backbone': Backbone}[part](deployed(model)).eval()


def traced(module: nn.Module, shape: tuple[int, int]) -> torch.export.ExportedProgram:
    """The program of ``module`` for images of ``shape`` (H, W) in batches of any size.

    Raises:
        UserError: The model does what cannot be traced; says what.
    """
    batch = torch.export.Dim('batch', min=1, max=4096)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return torch.export.export(module, (torch.rand(2, 3, *shape),), dynamic_shapes=({0: batch},))
    except Exception as error:  # torch.export raises what it likes
        raise refusal(error) from error


def refusal(error: Exception) -> UserError:
    return UserError(f'this cannot be exported ({reason_of(error)[:200]}): heads with operators of MMCV such as '
                     'deformable attention have no place in the format; --part backbone leaves the head out.')


def save_program(module: nn.Module, shape: tuple[int, int], path: str | Path, about: dict[str, Any]) -> None:
    """Write a ``torch.export`` archive (``torch.export.load`` reads it) with ``about`` inside as ``about.json``.

    Raises:
        UserError: As :func:`traced`, or the file cannot be written.
    """
    program = traced(module, shape)
    with atomic_path(path) as target:
        torch.export.save(program, target, extra_files={'about.json': json.dumps(about)})


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
    except Exception as error:  # the exporter raises what it likes
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
        path: What :func:`save_onnx` wrote; ``about`` is its metadata.

    Raises:
        UserError: ONNX Runtime is missing, or the file is damaged or none of ours.
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
            found = self.session.get_modelmeta().custom_metadata_map
            self.about = {key: json.loads(value) for key, value in found.items()}
            self.shape: Sequence[int] = self.about['shape']
        except Exception as error:  # ONNX Runtime's own exceptions are private
            raise UserError(f'{path} is no ONNX file of tools/export.py ({reason_of(error)[:200]}).') from error

    def forward(self, images: Tensor) -> list[Tensor]:
        if tuple(images.shape[-2:]) != tuple(self.shape):
            raise UserError(f'this ONNX file is for images of {self.shape[0]}x{self.shape[1]}, not '
                            f'{images.shape[-2]}x{images.shape[-1]}: give --shape, or export it anew.')
        return [torch.from_numpy(item) for item in self.session.run(None, {'images': images.numpy()})]


def load_saved(path: str | Path, form: str) -> nn.Module:
    """What was written, as a module of images."""
    return OnnxModel(path) if form == 'onnx' else torch.export.load(path).module()


def difference(module: nn.Module, saved: nn.Module, shape: tuple[int, int], batches: Sequence[int] = (1, 3)) -> float:
    """How far outputs on random images lie apart at most, relative to the largest value where that exceeds 1.

    NaN where one of them is NaN, infinite where an output is missing or of another shape.
    """
    apart = []
    for batch in batches:
        images = torch.rand(batch, 3, *shape)
        with torch.no_grad():
            expected, found = (_listed(item(images)) for item in (module, saved))
        if [item.shape for item in expected] != [item.shape for item in found]:
            return float('inf')
        apart += [(mine - theirs).abs().max() / mine.abs().max().clamp(min=1) for mine, theirs in zip(expected, found)]
    return torch.stack(apart).max().item()


def _listed(outputs: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def about_model(part: str, shape: tuple[int, int], macs: int, params: int, preprocessor: nn.Module | None,
                classes: Sequence[str] | None) -> dict[str, Any]:
    """What a user of the file has to know: the part, size, normalisation, MACs and classes."""
    about: dict[str, Any] = {'part': part, 'shape': list(shape), 'macs': macs, 'params': params}
    for key in ('mean', 'std'):
        values = getattr(preprocessor, key, None)
        if values is not None:
            about[key] = [round(float(value), 4) for value in torch.as_tensor(values).flatten()]
    if classes:
        about['classes'] = list(classes)
    return about
