"""A page from the data of one or several reports, and the data back from a page."""
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from cait_mm.errors import UserError
from cait_mm.report.answer import answer, line, signed
from cait_mm.report.drawings import drawn
from cait_mm.utils.files import atomic_path

TEMPLATES = Path(__file__).parent / 'templates'
MOST_BYTES = 5_000_000
NAMES = {'qk_dim': 'queries, keys', 'v_dim': 'values', 'ffn_dim': 'FFN'}
_DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)


def render(reports: Sequence[Mapping[str, Any]]) -> str:
    """The page of reports, as :func:`~cait_mm.report.gather.gather` gives them, the data inside."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters.update(milliseconds=lambda seconds: f'{1000 * seconds:.1f} ms')
    shown = [{**data, 'answer': answer(data), 'drawings': drawn(data, f'r{index}')}
             for index, data in enumerate(reports)]
    return environment.get_template('page.html').render(
        reports=shown, names=NAMES, signed=signed, line=line, data=as_script(reports), style=part('style.css'),
        script=part('page.js'))


def write(path: str | Path, reports: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page of ``reports``, completely or not at all; its path.

    Raises:
        UserError: It cannot be written.
    """
    text = render(reports)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
    return Path(path)


def read(path: str | Path) -> list[dict[str, Any]]:
    """The data of the reports in a page.

    Raises:
        UserError: It cannot be read, or is no such page.
    """
    try:
        found = _DATA.search(Path(path).read_text(encoding='utf-8'))
        reports = json.loads(found[1]) if found else None
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read as a report ({error}): make it again.') from error
    if not isinstance(reports, list) or not all(isinstance(data, dict) and 'name' in data for data in reports):
        raise UserError(f'{path} is no page of tools/report.py.')
    return reports


def as_script(value: Any) -> Markup:
    """``value`` as JSON that no parser of HTML takes for its own."""
    text = json.dumps(value, separators=(',', ':'), allow_nan=False)
    for letter in '<>&\u2028\u2029':
        text = text.replace(letter, f'\\u{ord(letter):04x}')
    return Markup(text)


def part(name: str) -> Markup:
    """A file of the page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding='utf-8'))
