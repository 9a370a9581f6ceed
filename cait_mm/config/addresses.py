"""The schemes under which MMEngine knows weights by name, such as ``torchvision://`` and ``open-mmlab://``.

Addresses come from MMEngine's own tables. Its loaders are not used, because they unpickle downloads.
"""
import os

from mmengine.runner import checkpoint as mmengine_checkpoint

from cait_mm.utils.addresses import register_scheme


def use_mmengine_schemes() -> None:
    """Let :func:`~cait_mm.utils.addresses.local_file` find the files that MMEngine's schemes name."""
    for scheme in ('torchvision', 'modelzoo'):
        register_scheme(scheme, lambda name: mmengine_checkpoint.get_torchvision_models()[name])
    for scheme in ('open-mmlab', 'openmmlab'):
        register_scheme(scheme, _open_mmlab)
    register_scheme('mmcls', lambda name: mmengine_checkpoint.get_mmcls_models()[name])


def _open_mmlab(name: str) -> str:
    """An address, or a path below MMEngine's folder."""
    name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    address = mmengine_checkpoint.get_external_models()[name]
    return address if '://' in address else os.path.join(mmengine_checkpoint._get_mmengine_home(), address)
