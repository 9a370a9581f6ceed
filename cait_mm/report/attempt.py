"""A report at the end of other work, whose failure must not lose that work."""
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cait_mm.errors import reason_of


def attempt(place: str | Path, pair: Callable[[], Any]) -> str:
    """Write the page of ``pair()``, a :class:`~cait_mm.report.pair.Pair`, to ``place``; a line for people."""
    try:
        from cait_mm.report.gather import gather
        from cait_mm.report.page import write
        return f'report: {write(place, [gather(pair())])}'
    except Exception as error:  # what it is about is done and saved
        return f'no report was written ({reason_of(error)}); tools/report.py writes one'


def place_of(result: str | Path) -> Path:
    """Where the page of a result stands: in its folder, or beside its file."""
    result = Path(result)
    return result / 'report.html' if result.is_dir() else result.with_suffix('.html')
