"""What a person sees of a command: one line for each of its steps, with a bar and the time left while it runs.

Everything else that the process and its children write goes to a log file, which is named if the command fails. Where
no terminal shows it (CI, pipes) a step is one plain line. A command that runs others (:meth:`Step.run`) shows their
progress: they write it to a file that :data:`RELAY` names, and leave their output as it is.
"""
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from cait_mm.config.cli import logs_aside, run_child
from cait_mm.errors import UserError
from cait_mm.utils.files import unwritable, write_json
from cait_mm.utils.signals import SIGNALS

RELAY = 'CAIT_PROGRESS'
"""The environment variable with the file for the progress of a command that another one runs."""
OFTEN = 0.2
"""Seconds between two drawings of a bar, or two writings of progress, at least."""
MOST_COLUMNS = 100
"""Of a bar with its text."""

At = Callable[..., None]
"""Called like :meth:`Step.at`."""


class Step:
    """A step that is running. The screen makes it (:meth:`Screen.step`).

    Args:
        label: Its number and what it does.
        draw: The terminal to draw on, if there is one.
        relay: The file to write progress to, if another command wants it.
    """

    def __init__(self, label: str, draw: IO[str] | None = None, relay: Path | None = None) -> None:
        self.label, self.draw, self.relay = label, draw, relay
        self.outcome = ''
        """What the finished line says behind the time."""
        self._measure: tuple[int, str] | None = None
        self._begun, self._last = time.monotonic(), -OFTEN
        self._bar = self._new_bar(bar_format='{desc} ...')

    def at(self, done: int, total: int, unit: str, note: str = '') -> None:
        """Show that ``done`` of ``total`` ``unit`` (plural) are done; ``note`` stands behind."""
        if not self._due(done in (0, total)):
            return
        if self.relay is not None:
            with suppress(UserError):  # a run goes on without its bar
                write_json(self.relay, [done, total, unit, note], indent=None)
        if self._bar is None:
            return
        if self._measure != (total, unit):  # the first steps after a resume took no time here
            self._measure = total, unit
            self._bar.close()
            self._bar = self._new_bar(
                total=total, initial=done, unit=unit,
                bar_format='{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {unit}, {remaining} left{postfix}')
        self._bar.set_postfix_str(note, refresh=False)
        if done == self._bar.n:
            self._bar.refresh()
        else:
            self._bar.update(done - self._bar.n)

    def over(self, items: Iterable[Any], unit: str, total: int | None = None) -> Iterator[Any]:
        """Yield ``items`` and show how many are done; ``total`` where they have no length."""
        total, done = len(items) if total is None else total, 0
        self.at(0, total, unit)
        for done, item in enumerate(items, 1):
            yield item
            self.at(min(done, total), total, unit)

    def say(self, what: str, now: bool = False) -> None:
        """Show ``what`` it is doing where nothing can be counted, and the time since it began."""
        if self._bar is not None and self._due(now):
            self._bar.bar_format = f'{{desc}} ... {what}{duration(self.seconds)}'
            self._bar.refresh()

    def run(self, words: Sequence[Any], folder: Path) -> int:
        """Run this Python with ``words`` and show the progress that the child writes to a file in ``folder``; its exit
        status. Its output goes where this process' standard error goes.
        """
        told, self._measure = folder / '.progress.json', None
        told.unlink(missing_ok=True)

        def watch(stopping: bool) -> None:
            progress = _read(told)
            if stopping:
                self._measure = None
                self.say('stopping when its state is saved, ', now=True)
            elif progress:
                self.at(*progress)
            elif self._measure is None:
                self.say('')

        try:
            return run_child(words, watch, stdout=2, env={**os.environ, RELAY: str(told)})[0]
        finally:
            told.unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._begun

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _due(self, anyway: bool = False) -> bool:
        now = time.monotonic()
        due = anyway or now - self._last >= OFTEN
        if due:
            self._last = now
        return due

    def _new_bar(self, **how: Any) -> tqdm | None:
        if self.draw is None:
            return None
        columns = os.get_terminal_size(self.draw.fileno()).columns or 80  # some terminals know no size
        return _Bar(desc=self.label, file=self.draw, leave=False, mininterval=0, miniters=0,
                    ncols=min(columns, MOST_COLUMNS), **how)


class _Bar(tqdm):
    monitor_interval = 0  # no thread beside loaders that fork


def _read(path: Path) -> list[Any] | None:
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding='utf-8'))


class Screen:
    """The lines of a command, on ``out``.

    Args:
        out: Where they go.
        steps: How many there will be.
        whole: Whether other output may come between a line's beginning and its end, so that both are whole lines.
        relay: See :class:`Step`.
        log: The file with everything else, if there is one.
    """

    def __init__(self, out: IO[str], steps: int, whole: bool = False, relay: Path | None = None,
                 log: Path | None = None) -> None:
        self.out, self.steps, self.whole, self.relay, self.log = out, steps, whole, relay, log
        self.number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A context for the next step."""
        self.number += 1
        label = f'[{self.number}/{self.steps}] {title}' if self.steps > 1 else title
        terminal = not self.whole and self.out.isatty() and os.environ.get('TERM') != 'dumb'
        step, begun, end = None, time.monotonic(), None
        try:
            if not terminal:
                self._write(f'{label} ...' + '\n' * self.whole)
            step = Step(label, self.out if terminal else None, self.relay)
            yield step
            end = f': {step.outcome}' if step.outcome else ''
        finally:
            if step is not None:
                step.close()
            begin = f'\r{label} ...' if terminal else f'{label} ...' if self.whole else ''
            stopped = 'stopped after ' if end is None else ''
            self._write(f'{begin} {stopped}{duration(time.monotonic() - begun)}{end or ""}\n')

    def say(self, text: str) -> None:
        """Print a line between two steps."""
        self._write(f'{text}\n')

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def duration(seconds: float) -> str:
    """Seconds in words: ``8 s``, ``2 min 5 s``, ``1 h 10 min``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


@contextmanager
def screen(steps: int = 1, verbose: bool = False, log: Path | None = None,
           json_path: str | None = None) -> Iterator[Screen]:
    """A context in which standard output and standard error of this process and its children go to a log file, and a
    :class:`Screen` shows what a person wants to know.

    Args:
        steps: How many the command has.
        verbose: Leave the output as it is; so does a command that another one runs.
        log: The file, to which is added. None is a temporary one, which is kept if an exception leaves the context.
        json_path: The command's ``--json``.

    Raises:
        UserError: The log cannot be written.
    """
    relay = os.environ.get(RELAY)
    if verbose or relay:
        with logs_aside(json_path):
            yield Screen(sys.stderr, steps, whole=True, relay=Path(relay) if relay else None)
        return
    path = log or _temporary()
    try:
        file = path.open('a', encoding='utf-8')  # children write to it too, each behind the others
    except OSError as error:
        raise unwritable(path, error) from error
    failed = False
    try:
        with file, _aside(file) as out:
            yield Screen(out, steps, log=path)
    except Exception:
        failed = path.stat().st_size > 0
        if failed:
            print(f'the log: {path}', file=sys.stderr)
        raise
    finally:
        if log is None and not failed:
            path.unlink(missing_ok=True)


def _temporary() -> Path:
    try:
        number, name = tempfile.mkstemp(prefix=f'{Path(sys.argv[0]).stem}-', suffix='.log')
    except OSError as error:
        raise unwritable(tempfile.gettempdir(), error) from error
    os.close(number)
    return Path(name)


@contextmanager
def _aside(log: IO[str]) -> Iterator[IO[str]]:
    """Point the descriptors 1 and 2 to ``log``, also for libraries in C and for children; yields a stream to where
    standard error went before, in which a Python without real descriptors (notebooks, tests) changes nothing.
    """
    out, opened = _copy(sys.stderr), {}
    _flush()
    try:
        for number in (1, 2):
            with suppress(OSError):  # closed, as with >&-
                opened[number] = os.dup(number)
                os.dup2(log.fileno(), number)
        SIGNALS.descriptor = opened.get(2, 2)
        yield out
    finally:
        _flush()
        SIGNALS.descriptor = 2
        for number, earlier in opened.items():
            os.dup2(earlier, number)
            os.close(earlier)
        if out is not sys.stderr:
            out.close()


def _copy(stream: IO[str]) -> IO[str]:
    try:
        number = os.dup(stream.fileno())
    except (OSError, AttributeError, ValueError):  # no descriptor
        return stream
    return os.fdopen(number, 'w', encoding=stream.encoding, errors='backslashreplace')


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):
            stream.flush()


def add_verbose_option(parser: Any) -> None:
    """Add ``--verbose``."""
    parser.add_argument('--verbose', action='store_true',
                        help='print everything that goes to the log otherwise, and no bars')
