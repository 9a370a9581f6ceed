"""Files that are written whole or not at all, and the newest one of a training run."""
import json
import os
import re
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Union

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
    """The checkpoint that MMEngine noted last, or the furthest one where a kill has kept it from taking the note.

    A note that names no local file is passed over. None if nothing is left.

    Raises:
        UserError: The file that is noted was cut off.
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


def numbered_checkpoints(folder: Path, kind: str = 'iter|epoch') -> List[Path]:
    """Whole checkpoints in ``folder`` that a run can continue from: no temporary files, no best ones."""
    named = (path for path in folder.glob('*.pth') if re.fullmatch(rf'(?:{kind})_[0-9]{{1,18}}', path.stem))
    return sorted(path for path in named if path.is_file() and zipfile.is_zipfile(path))


def _noted(note: Path) -> str:
    """The path in a ``last_checkpoint``, or '' where it holds none."""
    if not note.is_file():
        return ''
    with note.open('rb') as file:
        text = file.read(4096).decode(errors='replace').strip()
    usable = text.isprintable() and '://' not in text and len(os.fsencode(Path(text).name)) < 256
    return text if usable else ''
