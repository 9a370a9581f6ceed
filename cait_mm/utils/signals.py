"""Signals to stop: a command prints one line, removes temporary files and exits with status 128 + the number."""
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1')
"""Ctrl-C; the signal of schedulers and ``kill``; a closed terminal; and Slurm's advance warning, ``--signal=USR1``."""
_WATCH = 2.
"""Seconds between checks for the parent: loader processes would wait for ever to pass a batch to a dead one."""
_SAME = 1.
"""Seconds within which signals count as one: a launcher repeats those that the terminal sends to its processes."""


class Stopped(KeyboardInterrupt):
    """This process was asked to stop by signal ``number``. ``message`` tells which files are kept; it is empty if
    another process prints it.
    """

    def __init__(self, number: int, message: str = 'earlier files are kept') -> None:
        super().__init__(message)
        self.status = 128 + number
        self.sentence = f'{reason_of_stop(number)}; {message}.' if message else ''


def reason_of_stop(number: int) -> str:
    """The beginning of the message about a signal."""
    return 'interrupted' if number == signal.SIGINT else f'stopped by {signal.Signals(number).name}'


class Signals:
    """The first signal that asked this process to stop.

    A signal raises :class:`Stopped` at any place. While ``noting`` is set, as during a training, which can only be left
    between two iterations, it is just stored in ``received``. A second Ctrl-C ends the process at once. ``descriptor``
    is where a person reads messages.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.noting = False
        self.descriptor = 2
        self._when = 0.

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.received is None:
            self.received, self._when = number, time.monotonic()
            if not self.noting:
                raise Stopped(number)
            if os.isatty(self.descriptor):
                os.write(self.descriptor, b'stopping after this iteration; Ctrl-C once more stops at once.\n')
        elif time.monotonic() - self._when > _SAME and (number == signal.SIGINT or not self.noting):
            said = f'error: {reason_of_stop(number)} a second time; nothing more was saved.\n'
            os.write(self.descriptor, said.encode())
            os._exit(128 + number)

    @contextmanager
    def handled(self) -> Iterator[None]:
        """A context in which signals are handled, apart from those that this process was started to ignore (nohup).

        If a library turns the exception of a signal into another one, it becomes :class:`Stopped` again.
        """
        self.received, self.noting = None, False
        earlier = {}
        try:
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    earlier[number] = signal.signal(number, self)
        except ValueError:
            pass  # not the main thread, which alone may set handlers
        try:
            yield
        except Stopped:
            raise
        except Exception as error:
            if self.received is None:
                raise
            raise Stopped(self.received) from error
        finally:
            if self.received is None:  # a launcher may send more while this process ends
                for number, handler in earlier.items():
                    signal.signal(number, handler)


SIGNALS = Signals()
"""The signals of this process."""


def leave_stopping_to_parent() -> None:
    """In a process of a data loader, ignore signals to stop except SIGTERM from the parent, and end when the parent is
    gone.

    Schedulers and terminals signal all processes of a job, but the main process needs the loader to finish its
    iteration.
    """
    for name in NAMES:
        if name != 'SIGTERM' and hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, 'sigtimedwait'):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_obey_parent, args=(os.getppid(), ), daemon=True).start()


def _obey_parent(parent: int) -> None:
    while os.getppid() == parent:
        received = signal.sigtimedwait([signal.SIGTERM], _WATCH)
        if received is not None and received.si_pid == parent:
            break
    os._exit(0)
