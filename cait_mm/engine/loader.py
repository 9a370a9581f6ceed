"""One checkpoint loader in place of MMEngine's, which never runs code from a file.

``init_cfg``, ``load_from``, ``resume``, the inferencers and ``mmengine.load_checkpoint`` all ask MMEngine's
``CheckpointLoader``. MMEngine's own loaders unpickle any content (``torch.load(weights_only=False)``).

The Runner's checkpoints hold ``HistoryBuffer`` objects, which refer to their own methods. Only these are allowed here,
by name, and only while a file is read.
"""
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _process_mmcls_checkpoint

from cait_mm.config.addresses import use_mmengine_schemes
from cait_mm.utils import weights


def load_file(path: Any, map_location: Any = 'cpu') -> Any:
    """As :func:`cait_mm.utils.weights.load_file`, with the objects that MMEngine needs to resume a run."""
    allowed = [HistoryBuffer, (_history_buffer_method, 'builtins.getattr')]
    with torch.serialization.safe_globals(allowed):
        return weights.load_file(path, map_location)


def _history_buffer_method(owner: Any, name: str) -> Any:
    """In place of pickle's ``getattr``: a method of HistoryBuffer, and nothing else."""
    if owner is not HistoryBuffer:
        raise TypeError(f'a checkpoint may not refer to {owner!r}.{name}')
    return getattr(HistoryBuffer, name)


def load_from_checked(filename: str, map_location: Any = None) -> Any:
    """The content of a local file or an address of any scheme; see :func:`load_file`.

    ``meta['config']`` is left out: MMEngine's ``resume`` runs that text to see how many GPUs wrote the checkpoint.
    """
    content = load_file(filename, map_location)
    if isinstance(content, dict) and isinstance(content.get('meta'), dict):
        content['meta'].pop('config', None)
    return _process_mmcls_checkpoint(content) if str(filename).startswith('mmcls://') else content


def use_checked_loader() -> None:
    """Register the loader for every scheme of MMEngine, local files included, and tell the reader about the schemes."""
    use_mmengine_schemes()
    CheckpointLoader.register_scheme(list(CheckpointLoader._schemes), load_from_checked, force=True)
