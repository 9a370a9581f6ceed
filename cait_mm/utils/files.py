"""Writing files completely or not at all, and finding the newest checkpoint of a run."""
import errno
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cait_mm.errors import UserError, reason_of

_UNFINISHED = '.unfinished-'
_TEMPORARY = re.compile(r'\..*' + re.escape(_UNFINISHED) + r'[a-z0-9_]{8}(\.[^.]*)?')
_DESCRIPTOR = re.compile(r'/(?:dev|proc/self)/fd/(\d+)')


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path whose content becomes that of ``path`` on success and vanishes on failure.

    A regular file is replaced in one step and keeps its mode. If ``path`` is a symbolic link, its target is replaced
    and the link stays. Anything else (a device, a FIFO, a descriptor such as ``/dev/stdout`` or ``/dev/fd/63``) is
    never replaced: the finished content is written into it. A missing parent folder is created.

    Raises:
        UserError: The file cannot be written; an earlier one is still there.
    """
    path = Path(path)
    try:
        with (_filled if _is_special(path) else _replaced)(path) as temporary:
            yield temporary
    except OSError as error:
        raise unwritable(path, error) from error


def require_file_place(path: str | Path) -> None:
    """Check, before work begins, that :func:`atomic_path` could write a file to ``path``; nothing is created.

    Raises:
        UserError: It is a folder, is below a file, or a permission is missing.
    """
    path = Path(path)
    try:
        number = _descriptor(path)
        if number is not None:
            os.fstat(number)
        if _is_special(path):
            return
        target = _target(path)
        _require_writable(target if target.exists() else _first_folder(target.parent))
    except OSError as error:
        raise unwritable(path, error) from error


def require_folder_place(path: str | Path) -> None:
    """Check that ``path`` is a folder that can be written to, or could become one; nothing is created.

    Raises:
        UserError: It is a file, is below one, or a permission is missing.
    """
    try:
        _require_writable(_first_folder(Path(path)))
    except NotADirectoryError as error:
        raise UserError(f'{path} cannot be a folder, because {error.filename} is a file: choose another place.'
                        ) from error
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: str | Path, error: OSError) -> UserError:
    """The error about a file or folder that could not be written because of ``error``."""
    if isinstance(error, IsADirectoryError):
        return UserError(f'{path} is a folder: name a file in it.')
    return UserError(f'{path} could not be written ({error.strerror or error}): choose another place, or make room in '
                     f'{Path(path).absolute().parent}.')


def remove_temporaries(folder: str | Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``; no process may be writing there."""
    for path in Path(folder).iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def _target(path: Path) -> Path:
    """The target of a link, dangling or not; raises an OSError for a loop."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.stat(path)
    return Path(os.path.realpath(path))


def _is_special(path: Path) -> bool:
    """Whether ``path`` exists and is no regular file; raises an OSError for a folder."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return not stat.S_ISREG(mode)


def _descriptor(path: Path) -> int | None:
    """The number of the open file of this process that ``path``, or a link on the way to it, names."""
    name = os.path.abspath(path)
    for _ in range(40):  # as many links as Linux follows
        match = _DESCRIPTOR.fullmatch(name)
        if match:
            return int(match.group(1))
        if not os.path.islink(name):
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))
    return None


def _first_folder(path: Path) -> Path:
    """The nearest existing folder on the way to ``path``; raises an OSError for a file in its place."""
    folder = _target(path)
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return folder


def _require_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


@contextmanager
def _filled(path: Path) -> Iterator[Path]:
    """A temporary file, because writers seek, whose content is then written into ``path``."""
    handle, name = tempfile.mkstemp(suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        number = _descriptor(path)
        if number is not None:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        # opened by its name, a descriptor would start at the beginning of the file
        target = os.open(path, os.O_WRONLY) if number is None else os.dup(number)
        with open(temporary, 'rb') as source, open(target, 'wb') as sink:
            shutil.copyfileobj(source, sink)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of the target of ``path``, which it then replaces."""
    path = _target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _require_writable(path)
        mode = stat.S_IMODE(path.stat().st_mode)
    else:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    handle, name = tempfile.mkstemp(prefix=f'.{path.name[:40]}{_UNFINISHED}', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any, indent: int | None = 2) -> None:
    """Write ``content`` as JSON, completely or not at all; ``indent=None`` is compact."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + '\n')


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f'{path} is no readable JSON ({reason_of(error)}): delete it, and it is made again.'
                        ) from error


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """The JSON in ``path``, which is computed and written first if it is missing."""
    if not path.is_file():
        write_json(path, compute())
    return read_json(path)


def newest_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint in MMEngine's last note, or the one of the latest step if a kill has prevented the note.

    A note that names no local file is ignored. None if there is no checkpoint.

    Raises:
        UserError: The file in the note is cut off.
    """
    folder = Path(work_dir)
    noted = _noted(folder / 'last_checkpoint')
    for path in [folder / Path(noted).name, Path(noted)] if noted else []:  # the folder may have moved since
        if path.is_file() and not path.name.startswith('.'):
            if not zipfile.is_zipfile(path):
                raise UserError(f'checkpoint {path} is damaged (its end is missing): delete it, or name another one.')
            return str(path)
    furthest = {kind: max(numbered, key=lambda path: int(path.stem.rpartition('_')[2]))
                for kind in ('iter', 'epoch') if (numbered := numbered_checkpoints(folder, kind))}
    return str(max(furthest.values(), key=lambda path: path.stat().st_mtime)) if furthest else None


def checkpoint_of(path: str) -> str:
    """``path``, or if it is a work directory, its newest checkpoint.

    Raises:
        UserError: The directory has none.
    """
    if not Path(path).is_dir():
        return path
    newest = newest_checkpoint(path)
    if newest is None:
        raise UserError(f'{path} holds no last_checkpoint: give a checkpoint, or a work directory of tools/train.py.')
    return newest


def numbered_checkpoints(folder: Path, kind: str = 'iter|epoch') -> list[Path]:
    """The undamaged checkpoints in ``folder`` that a run can continue from, neither temporary nor best ones."""
    named = (path for path in folder.glob('*.pth') if re.fullmatch(rf'(?:{kind})_[0-9]{{1,18}}', path.stem))
    return sorted(path for path in named if path.is_file() and zipfile.is_zipfile(path))


def _noted(note: Path) -> str:
    """The path in a ``last_checkpoint``, or '' if there is none."""
    if not note.is_file():
        return ''
    with note.open('rb') as file:
        text = file.read(4096).decode(errors='replace').strip()
    usable = text.isprintable() and '://' not in text and len(os.fsencode(Path(text).name)) < 256
    return text if usable else ''
