"""Files from outside: only regular files are opened, and text is read in the encodings that editors write."""
import codecs
import os
import stat
from pathlib import Path
from typing import Any

from cait_mm.errors import UserError

POSTSCRIPT = 'it is PostScript, a program that this project does not run'
_KINDS = ((stat.S_ISDIR, 'a folder'), (stat.S_ISFIFO, 'a named pipe'), (stat.S_ISSOCK, 'a socket'),
          (stat.S_ISCHR, 'a device'), (stat.S_ISBLK, 'a device'))
# UTF-32's mark for little endian begins with UTF-16's
_MARKS = ((codecs.BOM_UTF8, 'utf-8-sig'), (codecs.BOM_UTF32_LE, 'utf-32'), (codecs.BOM_UTF32_BE, 'utf-32'),
          (codecs.BOM_UTF16_LE, 'utf-16'), (codecs.BOM_UTF16_BE, 'utf-16'))


def require_file(path: str | Path) -> None:
    """Check that ``path`` is a regular file: opening a named pipe, for example, would wait for a writer for ever.

    Symbolic links are followed.

    Raises:
        UserError: ``path`` is missing, cannot be reached, is empty, or is not a regular file.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        where = f': it is a link to {os.readlink(path)}, which is not there' if os.path.islink(path) else ''
        raise UserError(f'{path} does not exist{where}.') from error
    except (OSError, ValueError) as error:  # loops of links, names that are too long, null bytes
        raise UserError(f'{str(path)!r} cannot be opened ({getattr(error, "strerror", None) or error}).') from error
    kind = next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), None)
    if kind:
        raise UserError(f'{path} is {kind}, no file: remove or replace it.')
    if not status.st_size:
        raise UserError(f'{path} cannot be read, because it is empty: remove it or get it again.')


def read_text(path: str | Path, encoding: str = 'utf-8') -> str:
    """The content of a text file: in UTF-8, UTF-16 or UTF-32 if it begins with their byte-order mark, which is removed,
    otherwise in ``encoding``. Line ends of any system become ``\\n``.

    Raises:
        UserError: It is no file, cannot be read, or is not text.
    """
    if Path(path).is_file() and not Path(path).stat().st_size:
        return ''
    require_file(path)
    try:
        content = Path(path).read_bytes()
        text = content.decode(next((name for mark, name in _MARKS if content.startswith(mark)), encoding))
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror or error}).') from error
    except UnicodeDecodeError as error:
        name = error.encoding.upper()
        raise UserError(f'{path} is no {name} text (byte {error.start}): save it as UTF-8.') from error
    if '\0' in text:
        raise UserError(f'{path} holds null bytes, so it is no text: save it as UTF-8.')
    return text.replace('\r\n', '\n').replace('\r', '\n')


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file (:func:`read_text`) that are not blank, stripped of white space."""
    # not str.splitlines(): names may hold the rarer separators
    lines = (line.strip() for line in read_text(path).split('\n'))
    return [line for line in lines if line]


def forbid_postscript() -> None:
    """Make Pillow refuse PostScript in this process instead of starting Ghostscript."""
    from PIL import EpsImagePlugin, Image

    def refuse(*_: Any) -> None:
        raise OSError(POSTSCRIPT)

    Image.register_open('EPS', refuse, EpsImagePlugin._accept)
