"""One run per work directory."""
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cait_mm.errors import UserError
from cait_mm.utils.files import remove_temporaries, require_folder_place, unwritable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = '.run.lock'


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """A context in which ``folder``, created if it is missing, belongs to this process alone.

    The lock is a POSIX record lock: the system releases it whenever the process ends, and forked processes do not hold
    it. Half-written files of killed processes are removed from the folder. If the file system has no locks, a note is
    printed and nothing is locked.

    Raises:
        UserError: Another process has the lock, which the message names; or ``folder`` cannot be a folder.
    """
    require_folder_place(folder)
    path = Path(os.path.realpath(folder))  # the target of a dangling link is created
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _take(path, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        if lock is not None:
            remove_temporaries(path)
        else:
            print(f'note: {folder} cannot be locked here: start no second run in it.', file=sys.stderr)
        yield
    finally:
        if lock is not None:
            (path / NAME).unlink(missing_ok=True)
            lock.close()


def _take(folder: Path, called: str | Path) -> IO[str] | None:
    """The open, locked file; None if there are no locks."""
    path = folder / NAME
    while fcntl is not None:
        lock = open(path, 'a+')  # noqa: SIM115
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            lock.seek(0)
            owner = lock.read().strip() or 'another process'
            lock.close()
            raise UserError(f'{called} is in use by {owner}: wait until it is done, stop it, or choose another folder.'
                            ) from error
        except OSError:  # a network drive without locks
            lock.close()
            break
        if _is_there(path, lock):
            lock.truncate(0)
            lock.write(f'process {os.getpid()} on {socket.gethostname()}, since {time.strftime("%Y-%m-%d %H:%M:%S")}\n')
            lock.flush()
            return lock
        lock.close()  # its owner has removed it meanwhile
    return None


def _is_there(path: Path, lock: IO[str]) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False
