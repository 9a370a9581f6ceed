"""What MMEngine's own checkpoints hold beside tensors, allowed by name.

From 2.6 on ``torch.load`` reads plain types and tensors only, and MMEngine 0.10 cannot resume from what it saved: its
message hub stores ``HistoryBuffer`` objects, which hold numpy arrays and references to their own methods. Allowing
exactly those keeps the safe loader.
"""
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_ARRAY_DTYPES = ('f2', 'f4', 'f8', 'i4', 'i8', 'u1', 'u4', 'u8', '?')


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read checkpoints that MMEngine's Runner wrote. A no-op before torch 2.6."""
    if torch.__version__ < torch.torch_version.TorchVersion('2.6'):
        return
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    names = [(function, f'numpy.{core}.multiarray.{name}') for core in ('core', '_core')
             for function, name in ((reconstruct, '_reconstruct'), (scalar, 'scalar'))]
    dtypes = {type(np.dtype(kind)) for kind in _ARRAY_DTYPES}
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *names, (_history_buffer_method, 'builtins.getattr')])


def _history_buffer_method(owner: Any, name: str) -> Any:
    """What pickle's ``getattr`` may do here: name a method of HistoryBuffer, and nothing else."""
    if owner is not HistoryBuffer:
        raise TypeError(f'a checkpoint may not refer to {owner!r}.{name}')
    return getattr(HistoryBuffer, name)
