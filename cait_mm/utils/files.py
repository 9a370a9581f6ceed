"""Files that are written whole or not at all, and the newest one of a training run."""
import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Union

from cait_mm.errors import UserError


@contextmanager
def atomic_path(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it on success and vanishes on failure.

    The parent folder is made when it is missing.

    Raises:
        UserError: The file cannot be written; what was there before is still there.
    """
    path = Path(path)
    try:
        with _replaced(path) as temporary:
            yield temporary
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Union[str, Path], error: OSError) -> UserError:
    """The sentence about a file or folder that ``error`` kept from being written."""
    return UserError(f'{path} could not be written ({error.strerror or error}): choose another place, or make room in '
                     f'{Path(path).absolute().parent}.')


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f'.{path.name}.', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Union[str, Path], content: Any, indent: Optional[int] = 2) -> None:
    """Write ``content`` as JSON, whole or not at all; ``indent=None`` is compact."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + '\n')


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """The JSON in ``path``, computed and written there first where it is missing."""
    if not path.is_file():
        write_json(path, compute())
    return json.loads(path.read_text())


def newest_checkpoint(work_dir: Union[str, Path]) -> Optional[str]:
    """The checkpoint that MMEngine noted last, or the furthest one where a kill has kept it from taking the note."""
    folder = Path(work_dir)
    note = folder / 'last_checkpoint'
    noted = note.read_text().strip() if note.is_file() else ''
    if noted:
        inside = folder / Path(noted).name  # the folder may have moved since
        return str(inside if inside.is_file() else noted)
    numbered = {int(found.group(1)): path for path in folder.glob('*.pth')
                if (found := re.fullmatch(r'(?:iter|epoch)_(\d+)', path.stem))}
    return str(numbered[max(numbered)]) if numbered else None
