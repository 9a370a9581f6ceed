"""Checks of values from users and files; each raises an error that names the value, or returns nothing."""
from collections.abc import Mapping, Sequence
from typing import Any

from cait_mm.errors import UserError, shown

MOST_BLOCKS = 1000
MOST_CHANNELS = 65536
"""The largest number of channels, pixels or tokens on a side; ViT-22B is 6144 wide."""
MOST_PATCHES = 2**20


def check_positive_int(name: str, value: Any, most: int = MOST_CHANNELS) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f'{name}={shown(value)} must be a positive whole number.')
    if value > most:
        raise UserError(f'{name}={shown(value)} is more than {most}, the most that is supported.')


def check_positive_number(name: str, value: Any, most: float, why: str) -> None:
    """Raise unless ``value`` is a number in (0, ``most``]; ``why`` ends the sentence."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most:
        raise UserError(f'{name}={shown(value)} {why}.')


def check_sequence(name: str, value: Any, example: str) -> None:
    """Raise unless ``value`` is a list or tuple that is not empty; the error gives ``example``."""
    if not isinstance(value, (list, tuple)) or not value:
        raise UserError(f'{name}={shown(value)}: give a list such as {example}.')


def check_keys(what: str, data: Any, known: Sequence[str], required: Sequence[str] = ()) -> None:
    """Raise unless ``data`` is a mapping of ``known`` keys with all the ``required`` ones."""
    if not isinstance(data, Mapping):
        raise UserError(f'{what}={shown(data)} is no mapping of {", ".join(known)}.')
    unknown = [key for key in data if key not in known]
    if unknown:
        more = f' and {len(unknown) - 6} more' if len(unknown) > 6 else ''
        raise UserError(f'{what} has unknown keys {", ".join(map(shown_key, unknown[:6]))}{more}; it knows '
                        f'{", ".join(known)}.')
    missing = [key for key in required if key not in data]
    if missing:
        raise UserError(f'{what} lacks {", ".join(missing)}.')


def shown_key(key: Any) -> str:
    return key[:40] if isinstance(key, str) else shown(key)
