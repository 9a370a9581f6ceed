"""The one exception that tools print as a short message, and functions to put other exceptions into such messages."""
import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_LETTERS = 300
"""The longest reason; messages of some libraries contain the bytes that they could not read."""


class UserError(ValueError):
    """A mistake that the user can correct: a wrong path, an impossible target, a broken checkpoint.

    Its message is a sentence that names the problem and the remedy. Tools print it and exit with status 2
    (:func:`cait_mm.config.cli.run`). Every other exception is a bug and keeps its traceback.
    """


@contextmanager
def parameters_called(prefix: str, **others: str) -> Iterator[None]:
    """A context whose errors name the keys of a config, or the options of a command, instead of parameters.

    The library writes its parameters in backquotes: "`rule=lasso`" becomes "model.cdcp.rule=lasso" with the prefix
    ``model.cdcp.``.

    Args:
        prefix: Written before the name of a parameter.
        others: Names to use instead of the parameter's own, after the prefix.
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
    """The repr of ``value``, shortened for a sentence: files hold numbers and lists of any size."""
    if value is None or isinstance(value, (bool, float)) or isinstance(value, int) and abs(value) < 10**20:
        return repr(value)
    if isinstance(value, int):
        return f'a number of {value.bit_length()} bits'
    try:
        return reprlib.repr(value)
    except Exception:  # a repr of its own, or a number too long to print somewhere inside
        return f'a {type(value).__name__}'
