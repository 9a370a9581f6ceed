"""What a backbone accepts as arguments: every check is here, once, and says in one sentence what is wrong."""
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch

from cait_mm.errors import UserError
from cait_mm.ops.token_merge import Grid

MOST_PIXELS = 16384
"""The longest side of ``img_size``; a positional embedding of a million patches belongs to it."""
INIT_KEYS = ('type', 'checkpoint', 'prefix', 'map_location')


def checked_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value`` as an int of at least ``least`` and at most ``most``; NumPy's integers are fine.

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
        UserError: One does not exist or comes twice, or there is none; ``what`` says what there is.
    """
    given = _as_tuple(out_indices)
    given = (out_indices,) if given is None else given
    there = f'{what} 0 to {count - 1}'
    if not given or any(isinstance(index, (bool, np.bool_)) or not isinstance(index, Integral) or
                        not -count <= index < count for index in given):
        raise UserError(f'out_indices={out_indices!r}: {there}.')
    found = tuple(sorted(int(index) % count for index in given))
    if len(set(found)) < len(found):
        raise UserError(f'out_indices={out_indices!r} names an output twice: {there}.')
    return found


def checked_init_cfg(init_cfg: Any, who: str) -> dict[str, Any] | None:
    """``init_cfg`` as a plain dict of :data:`INIT_KEYS`, or None where it is empty.

    A list is fine where it holds one entry: a checkpoint sets every weight, so nothing is left for a second one.

    Raises:
        UserError: It asks for what ``who`` does not do.
    """
    if not init_cfg:
        return None
    how = f'{who} takes one dict(type=\'Pretrained\', checkpoint=FILE), with prefix and map_location if need be'
    if isinstance(init_cfg, (list, tuple)):
        if len(init_cfg) != 1:
            raise UserError(f'init_cfg has {len(init_cfg)} entries: {how}; it sets all weights.')
        init_cfg = init_cfg[0]
    if not isinstance(init_cfg, Mapping):
        raise UserError(f'init_cfg={init_cfg!r}: {how}.')
    kind = init_cfg.get('type')
    if getattr(kind, '__name__', kind) not in ('Pretrained', 'PretrainedInit') or not init_cfg.get('checkpoint'):
        raise UserError(f'init_cfg={dict(init_cfg)}: {how}.')
    unknown = [str(key) for key in init_cfg if key not in INIT_KEYS]
    if unknown:
        raise UserError(f'init_cfg has unknown keys {", ".join(unknown)}: {how}.')
    prefix, device = init_cfg.get('prefix'), init_cfg.get('map_location')
    if prefix is not None and (not isinstance(prefix, str) or not prefix.strip('.')):
        raise UserError(f'init_cfg prefix={prefix!r}: give the name of the module in the checkpoint, such as '
                        '\'backbone.\'.')
    try:
        torch.device('cpu' if device is None else device)
    except (RuntimeError, TypeError):
        raise UserError(f'init_cfg map_location={device!r}: give a device, such as \'cpu\'.') from None
    return {**init_cfg, 'type': 'Pretrained', 'checkpoint': str(init_cfg['checkpoint'])}


def checked_grid(stated: Any) -> Grid | None:
    """The grid (H, W) that a file states, or None where it states none that could be one."""
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
