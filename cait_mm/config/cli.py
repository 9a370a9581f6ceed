"""The shared part of all commands: short errors, ``--json``, checked arguments."""
import argparse
import json
import math
import os
import re
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from cait_mm.errors import UserError
from cait_mm.spec import Merge, as_merges
from cait_mm.utils.files import read_json, require_file_place, require_folder_place, unwritable, write_json
from cait_mm.utils.inputs import forbid_postscript
from cait_mm.utils.signals import SIGNALS, Stopped


def run(main: Callable[[], int | None], parameters: Sequence[str] = (),
        others: Mapping[str, str] | None = None) -> None:
    """Run a command's ``main`` and exit: 0 or its return value, 2 after a :class:`UserError`, 128 plus the signal's
    number after Ctrl-C or another signal to stop (:mod:`cait_mm.utils.signals`), 141 if nobody reads the output.

    With ``CAIT_DEBUG=1`` in the environment, the traceback of a :class:`UserError` and of its cause is printed first.

    Args:
        main: The command.
        parameters, others: See :func:`as_options`.
    """
    # Warnings that the libraries address to their own developers would bury the messages of this project.
    warnings.filterwarnings('ignore', category=UserWarning, module=r'mmseg|mmdet|mmcv|mmengine')
    forbid_postscript()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')  # a path may hold characters that the terminal cannot show
    try:
        with SIGNALS.handled():
            status = main()
            _flush()
    except UserError as error:
        if os.environ.get('CAIT_DEBUG'):
            traceback.print_exc()
        # an error from a data loader's process starts with its traceback; the message is at the end
        sentence = str(error).rsplit('UserError: ', 1)[-1].strip()
        print(f'error: {as_options(sentence, parameters, others)}', file=sys.stderr)
        status = 2
    except BrokenPipeError:  # as with "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + 13
    except Stopped as stop:
        if stop.sentence:
            print(f'error: {stop.sentence}', file=sys.stderr)
        status = stop.status
    except KeyboardInterrupt:
        print('error: interrupted; earlier files are kept.', file=sys.stderr)
        status = 130
    sys.exit(status or 0)


def as_options(sentence: str, parameters: Sequence[str], others: Mapping[str, str] | None = None) -> str:
    """``sentence`` with the library's "`pad_to=0`" written as the command line's "--pad-to 0".

    Args:
        sentence: Of an error; the library writes its parameters in backquotes.
        parameters: Parameters that are options of the same name here; from others only the quotes are taken.
        others: Options by the words that stand for them in the library, such as "tolerance=None".
    """
    def option(match: re.Match) -> str:
        if match[0].strip('`') in (others or {}):
            return others[match[0].strip('`')]
        name, value = match.groups()
        if name not in parameters:
            return match[0].strip('`')
        words = [] if value in (None, 'True') else re.findall(r"[^\s,()']+", value)
        return ' '.join([f'--{name.replace("_", "-")}', *words])

    return re.sub(r'`(\w+)(?:=([^`]*))?`', option, sentence)


def parse_merges(text: str) -> tuple[Merge, ...]:
    """Read merges as ``4:horizontal,7:vertical`` or ``2.4:horizontal``; an empty text means none."""
    merges = []
    for part in filter(None, text.split(',')):
        block, _, kind = part.partition(':')
        block = block.strip()
        if not re.fullmatch(r'[0-9]{1,4}(\.[0-9]{1,4})?', block):
            raise UserError(f'--merge {part!r}: write BLOCK:KIND, for example 4:horizontal, in Swin 2.4:horizontal.')
        merges.append((int(block) if block.isdigit() else block, kind.strip()))
    return as_merges(merges)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable('standard output', error) from error


def run_child(words: Sequence[Any], watch: Callable[[bool], None] | None = None, **streams: Any) -> tuple[int, str]:
    """Run this Python with ``words``; returns the status, and the output if ``streams`` (of Popen) keep it.

    A signal to stop is passed on, and this process waits until the child has saved its work.

    Args:
        words: A script and its arguments.
        watch: Called some times a second while the child runs, and once, with True, when it is asked to stop.
        streams: Arguments of ``Popen``.
    """
    with subprocess.Popen([sys.executable, *map(str, words)], text=True, **streams) as process:
        try:
            output = _output(process, watch)
        except Stopped as stop:
            process.send_signal(stop.status - 128)
            if watch is not None:
                watch(True)
            process.wait()
            raise
    return process.returncode, output or ''


def _output(process: subprocess.Popen, watch: Callable[[bool], None] | None) -> str | None:
    while watch is not None:
        try:
            return process.communicate(timeout=0.25)[0]
        except subprocess.TimeoutExpired:
            watch(False)
    return process.communicate()[0]


def run_python(*words: Any) -> None:
    """Run a script with this Python; ``words`` are its path and arguments, and its output goes to standard error.

    Raises:
        UserError: It failed. It has printed the reason.
    """
    print('$', *words, file=sys.stderr, flush=True)
    if run_child(words, stdout=sys.stderr)[0]:
        raise UserError(f'{words[0]} failed; run this again to continue.')


def result_of(path: Path, *words: Any) -> Any:
    """The result that a script writes to ``--json path``; it is run by :func:`run_python` unless the file exists."""
    if not path.is_file():
        run_python(*words, '--json', path)
    return read_json(path)


def _number(kind: Callable[[str], float], name: str, accepts: Callable[[float], bool]) -> Callable[[str], float]:
    """A ``type`` for argparse: a finite number that ``accepts`` allows, called ``name`` in the error."""

    def parse(word: str) -> float:
        try:
            value = kind(word)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and accepts(value)):
            raise argparse.ArgumentTypeError(f'{word!r} is not {name}')
        return value

    return parse


positive_int = _number(int, 'a positive whole number below 2^31', lambda value: 0 < value < 2**31)
whole_number = _number(int, 'a whole number, 0 or more', lambda value: value >= 0)
positive = _number(float, 'a positive number', lambda value: value > 0)
not_negative = _number(float, 'a number, 0 or more', lambda value: value >= 0)
above_one = _number(float, 'a number above 1', lambda value: value > 1)
share = _number(float, 'a share between 0 and 1', lambda value: 0 < value < 1)


def output_file(word: str) -> Path:
    """A ``type`` for argparse: a file that can be written, checked before the work begins."""
    return _checked(word, require_file_place)


def output_folder(word: str) -> Path:
    """A ``type`` for argparse: a folder that can be written to or created, checked before the work begins."""
    return _checked(word, require_folder_place)


def _checked(word: str, require: Callable[[str], None]) -> Path:
    try:
        require(word)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(word)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE`` (``-`` is standard output)."""
    parser.add_argument('--json', metavar='FILE', type=lambda word: word if word == '-' else str(output_file(word)),
                        help='also write the result as JSON; "-" prints only the JSON')


@contextmanager
def logs_aside(json_path: str | None) -> Iterator[None]:
    """With ``--json -``, send the output of libraries to standard error (MMEngine logs to standard output)."""
    if json_path == '-':
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def report(text: str, result: Any, json_path: str | None) -> None:
    """Print ``text`` for people, and write ``result`` as JSON if ``--json`` was given.

    With ``--json -`` standard output holds only the JSON, and ``text`` goes to standard error.
    """
    if json_path == '-':
        print(text, file=sys.stderr)
        print(json.dumps(result, indent=2))
        return
    print(text)
    if json_path:
        write_json(json_path, result)
