"""What the numbers of a report rest on: files, commands, machine and versions."""
import hashlib
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from cait_mm.utils.speed import conditions
from cait_mm.version import __version__

PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'mmengine', 'mmcv', 'mmsegmentation', 'mmdet')


def checksum(path: str | Path) -> str:
    """The SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') else _digest(file)


def _digest(file: Any) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def file_rows(**files: str | Path | None) -> list[tuple[str, str]]:
    """A row with the path and one with the checksum of every file that is there."""
    rows = []
    for name, path in files.items():
        if path is not None and Path(path).is_file():
            what = name.replace('_', ' ')
            rows += [(what, str(path)), (f'{what}, SHA-256', checksum(path))]
    return rows


def provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Rows of the short values in a compressed model's provenance."""
    rows = []
    for key, value in provenance.items():
        if isinstance(value, Mapping) and key != 'spec':
            rows += [(f'{key}: {name}', item) for name, item in value.items() if _is_short(item)]
        elif _is_short(value):
            rows.append((key, value))
    return [(key.replace('_', ' '), value) for key, value in rows]


def _is_short(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and len(str(value)) < 200


def command() -> str:
    """The command line of this process."""
    script = Path(sys.argv[0])
    name = f'tools/{script.name}' if script.suffix == '.py' or not script.suffix else script.name
    return f'python {shlex.join([name, *sys.argv[1:]])}'


def machine_rows() -> list[tuple[str, Any]]:
    """Rows of this machine and the versions here."""
    return [*conditions().items(), ('system', platform.platform()), ('cait_mm', __version__), *versions(PACKAGES)]


def versions(packages: Sequence[str]) -> list[tuple[str, str]]:
    """The installed ones of ``packages``, with their versions."""
    found = []
    for name in packages:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found
