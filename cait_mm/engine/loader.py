"""MMEngine's checkpoint loaders, replaced by one that never runs what it reads.

``init_cfg``, ``load_from``, ``resume``, the inferencers and ``mmengine.load_checkpoint`` all ask MMEngine's
``CheckpointLoader``. Its own loaders unpickle whatever an address gives (``torch.load(weights_only=False)``).
"""
from typing import Any

from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import _process_mmcls_checkpoint

from cait_mm.config.addresses import use_mmengine_schemes
from cait_mm.utils.weights import load_file


def load_from_checked(filename: str, map_location: Any = None) -> Any:
    """The content of a local file or an address of any scheme; see :func:`~cait_mm.utils.weights.load_file`."""
    content = load_file(filename, map_location)
    return _process_mmcls_checkpoint(content) if str(filename).startswith('mmcls://') else content


def use_checked_loader() -> None:
    """Register it for every scheme that MMEngine knows, local files included, and those schemes with the reader."""
    use_mmengine_schemes()
    CheckpointLoader.register_scheme(list(CheckpointLoader._schemes), load_from_checked, force=True)
