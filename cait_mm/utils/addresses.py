"""The local file that a checkpoint's path or address names; addresses are downloaded once.

MMEngine's schemes are understood (``http(s)://``, ``torchvision://``, ``open-mmlab://`` and their kin) through its own
tables of addresses. Its loaders are not used: they unpickle what they download.
"""
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlparse

import torch
from mmengine.dist import barrier, get_rank
from mmengine.runner import checkpoint as mmengine_checkpoint

from cait_mm.errors import UserError, reason_of

_CONTENT_NAMED = re.compile(r'-[0-9a-f]{8,}\.')
"""Names that end in a piece of the file's digest, as torchvision's and OpenMMLab's do, stand for one content."""


def local_file(path: str) -> str:
    """The file on this machine behind ``path``.

    Args:
        path: A local path, or an address of a scheme that MMEngine knows. What an address names is kept in PyTorch's
            folder of downloads (``torch.hub.get_dir()``) and fetched once; in a distributed run the first process
            fetches it before the others look.

    Raises:
        UserError: There is no such file, the scheme or name is unknown, or the address cannot be fetched.
    """
    if '://' not in path:
        return _existing(os.path.expanduser(path), path)
    address = _web_address(path)
    if '://' not in address:
        return _existing(os.path.join(mmengine_checkpoint._get_mmengine_home(), address), path)
    target = download_path(address)
    try:
        if get_rank() == 0:
            _fetch(address, target)
    finally:
        barrier()
    _fetch(address, target)  # on another machine's disk it may be missing still
    return str(target)


def download_path(address: str) -> Path:
    """Where the download of ``address`` is kept: under its own name where that stands for the content.

    Other names, such as ``best.pth``, get a piece of the address's digest, because two servers may both use them.
    """
    name = os.path.basename(unquote(urlparse(address).path)) or 'weights'
    if not _CONTENT_NAMED.search(name):
        name = f'{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def _existing(path: str, named: str) -> str:
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        what = 'is a folder, not a file'
    else:
        what = 'is no regular file' if os.path.exists(path) else 'does not exist'
    raise UserError(f'checkpoint {named} {what}: see docs/prepare_data.md#weights for how to get or make it.')


def _web_address(path: str) -> str:
    scheme, _, name = path.partition('://')
    tables: Mapping[str, Callable[[], Mapping[str, Any]]] = {
        'torchvision': mmengine_checkpoint.get_torchvision_models,
        'modelzoo': mmengine_checkpoint.get_torchvision_models,
        'open-mmlab': mmengine_checkpoint.get_external_models,
        'openmmlab': mmengine_checkpoint.get_external_models,
        'mmcls': mmengine_checkpoint.get_mmcls_models,
    }
    if scheme in ('http', 'https'):
        return path
    if scheme not in tables:
        raise UserError(f'checkpoint {path}: files are not fetched from {scheme}://; download it and name the file.')
    if scheme in ('open-mmlab', 'openmmlab'):
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    address = tables[scheme]().get(name)
    if address is None:
        raise UserError(f'checkpoint {path}: {scheme}:// has no weights of the name {name}.')
    return address


def _fetch(address: str, target: Path) -> None:
    """Download ``address`` whole or not at all, unless ``target`` is there."""
    if target.is_file():
        return
    advice = 'check the address and the network, or download it and name the file'
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(target), progress=False)
    except HTTPError as error:
        raise UserError(f'checkpoint {address} cannot be fetched (the server answers {error.code} {error.reason}): '
                        f'{advice}.') from error
    except URLError as error:
        why = getattr(error.reason, 'strerror', None) or error.reason
        raise UserError(f'checkpoint {address} cannot be fetched ({why}): {advice}.') from error
    except Exception as error:  # a broken answer, an impossible address, a full disk
        raise UserError(f'checkpoint {address} cannot be fetched ({reason_of(error)}): {advice}.') from error
