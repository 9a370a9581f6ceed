"""The one exception type that tools turn into a single sentence, and how other exceptions get into one."""
import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_LETTERS = 300
"""Of a reason; some libraries put the bytes that they could not read into theirs."""


class UserError(ValueError):
    """Something the person at the keyboard can mend: a wrong path, an impossible target, a broken checkpoint.

    Its message is one sentence that says what is wrong and what to do. Tools print it and exit with status 2
    (:func:`cait_mm.config.cli.run`); every other exception keeps its traceback, because it is a bug.
    """


@contextmanager
def parameters_called(prefix: str, **others: str) -> Iterator[None]:
    """Let errors from in here name the keys of a config, or the options of a command, that parameters came from.

    The library writes its parameters in backquotes: "`rule=lasso`" becomes "model.cdcp.rule=lasso" with the prefix
    ``model.cdcp.``.

    Args:
        prefix: Written before a parameter's name.
        others: Names that a parameter has instead of its own, after the prefix.
    """
    try:
        yield
    except UserError as error:
        raise type(error)(re.sub(r'`(\w+)([^`]*)`', lambda match: prefix + others.get(match[1], match[1]) + match[2],
                                 str(error))) from error


def reason_of(error: BaseException) -> str:
    """The first sentence of an exception's message, without its full stop, to be quoted in another sentence."""
    if isinstance(error, KeyError) and error.args and not re.search(r'\s', str(error.args[0])):
        return f'{error.args[0]!r} is missing'
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    line = (text.strip().splitlines() or [''])[0]
    sentence = re.split(r'\.\s+(?=[A-Z])', line)[0].rstrip('. ') or type(error).__name__
    return sentence if len(sentence) <= MOST_LETTERS else f'{sentence[:MOST_LETTERS]}...'


def shown(value: Any) -> str:
    """``value`` as Python writes it, cut to the length of a sentence: files hold numbers and lists of any size."""
    if value is None or isinstance(value, (bool, float)) or isinstance(value, int) and abs(value) < 10**20:
        return repr(value)
    if isinstance(value, int):
        return f'a number of {value.bit_length()} bits'
    try:
        return reprlib.repr(value)
    except Exception:  # a repr of its own, or a number too long to print somewhere inside
        return f'a {type(value).__name__}'
