"""What every command of the project shares: one-sentence errors, ``--json``, plain tables."""
import argparse
import json
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from typing import Any, Callable, Iterator, Optional, Sequence

from cait_mm.errors import UserError
from cait_mm.utils.files import write_json


def run(main: Callable[[], Optional[int]]) -> None:
    """Run a command's ``main`` and exit: 0 or its return value, 2 after a :class:`UserError`, 130 after Ctrl-C."""
    # Upstream's notes to its own developers would bury ours.
    warnings.filterwarnings('ignore', category=UserWarning, module=r'mmseg|mmdet|mmcv|mmengine')
    try:
        status = main()
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print('error: interrupted; what was written before is kept.', file=sys.stderr)
        status = 130
    sys.exit(status or 0)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE`` (``-`` is standard output)."""
    parser.add_argument('--json', metavar='FILE', help='also write the result as JSON; "-" prints only the JSON')


@contextmanager
def logs_aside(json_path: Optional[str]) -> Iterator[None]:
    """Send what a library prints (MMEngine logs to standard output) to standard error while ``--json -`` is in use."""
    if json_path == '-':
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def report(text: str, result: Any, json_path: Optional[str]) -> None:
    """Print ``text`` for people and write ``result`` as JSON where it was asked for.

    With ``--json -`` standard output holds the JSON alone and ``text`` goes to standard error, so pipes stay clean.
    """
    if json_path == '-':
        print(text, file=sys.stderr)
        print(json.dumps(result, indent=2))
        return
    print(text)
    if json_path:
        write_json(json_path, result)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out ``rows`` under ``header`` as a Markdown table with padded columns."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return '| ' + ' | '.join(cell.ljust(width) for cell, width in zip(cells, widths)) + ' |'

    return '\n'.join([line(header), '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *map(line, rows)])
