"""Reading of weight files: no code from a file runs, and a damaged file or one without weights is a clear error.

PyTorch's files (zip and the older format) and ``.safetensors`` are read; the content decides, not the name.
"""
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from cait_mm.errors import UserError, reason_of
from cait_mm.utils.addresses import local_file
from cait_mm.utils.harmless import harmless_types

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MOST_REPEATED = 2**24
"""The largest tensor for which the file may hold fewer numbers: a small file can describe a view of any size."""

WEIGHTS = ('state_dict_ema', 'state_dict', 'model', 'model_ema', 'module', 'teacher', 'student')
"""The keys under which training scripts keep the weights, the preferred one first.

timm selects its best checkpoint by the averaged weights, ``state_dict_ema``. DeiT and its descendants report the
accuracy of ``model`` and store ``model_ema`` with it. DINO publishes its teacher, the average of its students.
"""
_AVERAGED = 'ema_state_dict'  # MMEngine's: EMAHook swaps it with the model's own

_FOREIGN = (
    (b'version https://git-lfs', 'is a Git LFS pointer, not the file itself: run git lfs pull'),
    (b'<', 'is a web page, not weights: download the file itself'),
    (b'{', 'is JSON, not weights: name the .pth or .safetensors file'),
    (b'\x89HDF', 'is an HDF5 file (Keras), which is not read: convert it to a PyTorch state dict'),
    (b'\x1f\x8b', 'is packed with gzip: unpack it'),
    (b'BZh', 'is packed with bzip2: unpack it'),
    (b'\xfd7zXZ', 'is packed with xz: unpack it'),
)
_PARAMETER = re.compile(r'(^|[._])(weight|bias|columns|original\d*|gamma_?\d*|running_(mean|var)|'
                        r'\w*(embed|token|table))$')

Device = None | str | torch.device | Callable | dict[str, str]


def load_file(path: str | os.PathLike, map_location: Device = 'cpu') -> Any:
    """The content of a local file or an address, tensors and plain types.

    Args:
        path: See :func:`~cait_mm.utils.addresses.local_file`.
        map_location: As in ``torch.load``; None leaves tensors on the device that they were saved on, if it is there.

    Raises:
        UserError: The file is missing, cannot be downloaded, is damaged, is no weights file, holds a type that could
            run code, or holds weights that are not finite or no floating point numbers.
    """
    path = str(path)
    local = local_file(path)
    if map_location is None and not torch.cuda.is_available():
        map_location = 'cpu'
    try:
        with open(local, 'rb') as stream:
            head = stream.read(64)
    except OSError as error:
        raise UserError(f'checkpoint {path} cannot be read ({error.strerror}): check its permissions.') from error
    try:
        content = _read(path, local, head, map_location)
    except UserError as error:
        if local != path and '://' in path:
            raise UserError(f'{error} It was downloaded to {local}: delete that file to fetch it again.') from error
        raise
    for weights in _weights_of(content):
        check_weights(path, weights)
    return content


def _read(path: str, local: str, head: bytes, map_location: Device) -> Any:
    if not head:
        raise UserError(f'checkpoint {path} is empty: fetch or make it again.')
    if _is_safetensors(local, head):
        return _read_safetensors(path, local, map_location)
    for start, what in _FOREIGN:
        if head.lstrip().startswith(start):
            raise UserError(f'checkpoint {path} {what}.')
    if head.startswith(b'PK'):
        _check_zip(path, local)
    return _read_torch(path, local, map_location)


def _is_safetensors(local: str, head: bytes) -> bool:
    length = int.from_bytes(head[:8], 'little')
    return local.endswith('.safetensors') or (head[8:9] == b'{' and length + 8 <= os.path.getsize(local))


def _read_safetensors(path: str, local: str, map_location: Device) -> dict[str, Tensor]:
    try:
        tensors = safetensors.torch.load_file(local)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise _damaged(path, error) from error
    if isinstance(map_location, (str, torch.device)):
        tensors = {name: value.to(map_location) for name, value in tensors.items()}
    return tensors


def _check_zip(path: str, local: str) -> None:
    """Compare every part of a PyTorch file with its checksum, which ``torch.load`` does not do.

    A file that was written with ``torch.serialization.set_crc32_options(False)`` has no checksums.
    """
    try:
        with zipfile.ZipFile(local) as archive:
            parts = archive.infolist()
            names = [part.filename.rpartition('/')[2] for part in parts]
            broken = archive.testzip() if any(part.CRC for part in parts) else None
    except Exception as error:  # zipfile and zlib raise half a dozen types
        raise _damaged(path, error) from error
    if broken:
        raise _damaged(path, f'the checksum of {broken} in it does not match')
    if 'constants.pkl' in names:
        raise UserError(f'checkpoint {path} is a TorchScript program, not weights: save the state_dict of the model it '
                        'was made from.')
    if 'data.pkl' not in names:
        kind = 'NumPy' if any(name.endswith('.npy') for name in names) else 'zip'
        raise UserError(f'checkpoint {path} is a {kind} archive, which is not read: give a PyTorch state dict, or '
                        'convert it to one.')


def _read_torch(path: str, local: str, map_location: Device) -> Any:
    try:
        with harmless_types():
            return torch.load(local, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r'GLOBAL (\S+)', str(error))
        if named is None:
            raise _damaged(path, error) from error
        raise UserError(f'checkpoint {path} holds an object of the type {named.group(1)}, which could run code and is '
                        'not read: if you trust the file, save its weights alone with torch.save(model.state_dict(), '
                        'FILE).') from error
    except Exception as error:  # torch raises a dozen types for a damaged file
        raise _damaged(path, error) from error


def _damaged(path: str, why: str | BaseException) -> UserError:
    why = why if isinstance(why, str) else reason_of(why)
    return UserError(f'checkpoint {path} cannot be read, it is damaged or no weights file ({why}): fetch or make it '
                     'again.')


def _weights_of(content: Any) -> Any:
    """Every set of weights in the content of a file, without the optimizer's state."""
    if isinstance(content, Mapping):
        yield from (content[key] for key in (*WEIGHTS, _AVERAGED) if isinstance(content.get(key), Mapping))
        yield content


def check_weights(path: str, weights: Mapping[Any, Any]) -> None:
    """Refuse weights that are NaN, infinite, not of a floating point type, or not named by a string.

    Counters and indices may be whole numbers, and masks may hold infinities.

    Raises:
        UserError: There are such weights; the message names the first one.
    """
    for name, value in weights.items():
        if isinstance(value, Tensor):
            problem = _problem(name, value) if isinstance(name, str) else 'is no name of a weight: rename it'
            if problem:
                raise UserError(f'checkpoint {path}: {name} {problem}.')


@contextmanager
def fitting(path: str | os.PathLike) -> Iterator[None]:
    """A context in which the weights of ``path`` are loaded into a whole model.

    Raises:
        UserError: Something does not fit; the message names the file and the keys.
    """
    try:
        yield
    except (RuntimeError, UserError) as error:
        reason = ' '.join(str(error).split())
        raise UserError(f'checkpoint {path} does not fit the config: {reason}') from error


def _problem(name: str, value: Tensor) -> str | None:
    if value.is_quantized or value.layout != torch.strided or value.is_meta or value.is_complex():
        kind = 'on the meta device' if value.is_meta else value.layout if value.layout != torch.strided else value.dtype
        return f'is {kind}, and weights are dense floating point tensors: convert them before they are saved'
    if value.numel() > max(MOST_REPEATED, value.untyped_storage().nbytes() // value.element_size()):
        return f'has {value.numel()} elements, more than the file holds: fetch or make it again'
    if value.dtype not in FLOATS:
        if value.is_floating_point() or _PARAMETER.search(name):
            return f'is {value.dtype}, and weights are one of {", ".join(map(str, FLOATS))}: convert them first'
        return None
    finite = torch.isfinite(value) if 'mask' not in name else ~torch.isnan(value)
    return None if bool(finite.all()) else 'is not finite (NaN or infinity): use an earlier checkpoint'
