"""Checks of a backbone's arguments, in one place and with clear errors."""
from numbers import Integral
from typing import Any

import numpy as np

from cait_mm.errors import UserError
from cait_mm.ops.token_merge import Grid

MOST_PIXELS = 16384
"""The longest side of ``img_size``; its positional embedding has a million patches."""


def checked_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value`` as an int from ``least`` to ``most``; integers of NumPy are accepted.

    Raises:
        UserError: It is no whole number, or out of range.
    """
    limits = f'{least} or more' if most is None else f'from {least} to {most}'
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise UserError(f'{name}={value!r}: give a whole number, {limits}.')
    if value < least or (most is not None and value > most):
        raise UserError(f'{name}={value}: it has to be {limits}.')
    return int(value)


def checked_flag(name: str, value: Any) -> bool:
    """``value`` as a bool.

    Raises:
        UserError: It is neither True nor False.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise UserError(f'{name}={value!r}: give True or False.')
    return bool(value)


def checked_size(name: str, value: Any) -> tuple[int, int] | None:
    """Pixels (H, W): one number stands for a square, None stays None.

    Raises:
        UserError: It is neither one nor two positive whole numbers, or a side is beyond :data:`MOST_PIXELS`.
    """
    if value is None:
        return None
    sides = _as_tuple(value)
    if sides is None:
        sides = (value, value)
    if len(sides) != 2:
        raise UserError(f'{name}={value!r}: give the height and the width, or one number for a square.')
    height, width = (checked_whole(name, side, 1, MOST_PIXELS) for side in sides)
    return height, width


def checked_outputs(out_indices: Any, count: int, what: str) -> tuple[int, ...]:
    """``out_indices`` sorted, negative ones counted from the end; one number is one output.

    Raises:
        UserError: One does not exist or occurs twice, or there is none. ``what`` describes the outputs in the message.
    """
    given = _as_tuple(out_indices)
    given = (out_indices,) if given is None else given
    there = f'{what} 0 to {count - 1}'
    if not given or any(isinstance(index, (bool, np.bool_)) or not isinstance(index, Integral) or
                        not -count <= index < count for index in given):
        raise UserError(f'out_indices={out_indices!r}: {there}.')
    indices = tuple(sorted(int(index) % count for index in given))
    if len(set(indices)) < len(indices):
        raise UserError(f'out_indices={out_indices!r} names an output twice: {there}.')
    return indices


def checked_grid(stated: Any) -> Grid | None:
    """The grid (H, W) that a file states, or None if it states no valid one."""
    sides = _as_tuple(stated)
    if not sides or len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, Integral) or side < 1
                                           for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def _as_tuple(value: Any) -> tuple[Any, ...] | None:
    """A list, tuple or one-dimensional array as a tuple; None for anything else."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, (list, tuple)) else None
