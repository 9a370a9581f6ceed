"""The local file of a checkpoint's path or address; addresses are downloaded once.

This module understands ``http(s)://``. :func:`register_scheme` adds other schemes, such as MMEngine's in
``cait_mm/config/addresses.py``.
"""
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlparse

import torch
from torch import distributed

from cait_mm.errors import UserError, reason_of

_CONTENT_NAMED = re.compile(r'-[0-9a-f]{8,}\.')
"""Names that end in a part of the file's digest, as in torchvision and OpenMMLab, stand for one content."""
_SCHEMES: dict[str, Callable[[str], str]] = {}


def register_scheme(scheme: str, find: Callable[[str], str]) -> None:
    """Let ``find`` map the NAME in ``scheme://NAME`` to a file or web address.

    It raises ``KeyError`` for an unknown name.
    """
    _SCHEMES[scheme] = find


def local_file(path: str) -> str:
    """The file on this machine behind ``path``.

    Args:
        path: A local path, an address, or a name under a registered scheme. A file is downloaded once and kept in
            PyTorch's folder of downloads (``torch.hub.get_dir()``); in a distributed run the first process downloads it
            while the others wait.

    Raises:
        UserError: There is no such file, the scheme or name is unknown, or the address cannot be fetched.
    """
    if '://' not in path:
        return _existing(os.path.expanduser(path), path)
    address = _web_address(path)
    if '://' not in address:
        return _existing(address, path)
    target, together = download_path(address), distributed.is_available() and distributed.is_initialized()
    try:
        if not together or distributed.get_rank() == 0:
            _fetch(address, target)
    finally:
        if together:
            distributed.barrier()
    _fetch(address, target)  # another machine of the run has a disk of its own
    return str(target)


def download_path(address: str) -> Path:
    """The path of the download of ``address``, under its own name if that identifies the content.

    Other names, such as ``best.pth``, get a part of the address's digest, because two servers may use the same name.
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
    """The web address or local path that ``path`` stands for."""
    scheme, _, name = path.partition('://')
    if scheme in ('http', 'https'):
        return path
    if scheme not in _SCHEMES:
        raise UserError(f'checkpoint {path}: files are not fetched from {scheme}://; download it and name the file.')
    try:
        return _SCHEMES[scheme](name)
    except KeyError:
        raise UserError(f'checkpoint {path}: {scheme}:// has no weights of the name {name}.') from None


def _fetch(address: str, target: Path) -> None:
    """Download ``address`` completely or not at all, unless ``target`` exists."""
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
