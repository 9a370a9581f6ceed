"""Latency tables that were measured before, in the user's cache folder."""
import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn

from cait_mm.errors import UserError
from cait_mm.latency.measure import SECONDS, Measured, measure, way_of
from cait_mm.latency.table import LatencyTable, share_of
from cait_mm.models import Classifier
from cait_mm.models.base import LINEAR, backbone_inside

LOGGER = logging.getLogger('cait_mm')


def folder() -> Path:
    """Where tables are kept: ``cait_mm/latency`` below ``XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'cait_mm' / 'latency'


def budget(model: nn.Module, img_size: tuple[int, int], target: float | None, speedup: float | None,
           latency: None | str | os.PathLike | LatencyTable = None, **measuring: Any
           ) -> tuple[float, LatencyTable | None]:
    """The share to save, and the table of the times that it is a share of; None where it is one of MACs.

    Args:
        model: Of full width.
        img_size: Pixels (H, W) of its images.
        target, speedup: One of them: a share of MACs, or a speed-up.
        latency: The table, or its file; None measures this machine.
        measuring: Options of :func:`measured`.

    Raises:
        UserError: Both are given or none, the table is unfit, or as :func:`measured`.
    """
    if (target is None) == (speedup is None):
        raise UserError('give either `target`, a share of MACs, or `speedup`, such as 2.0.')
    if speedup is None:
        return target, None
    share = share_of(speedup)
    if latency is None:
        return share, measured(model, img_size=img_size, **measuring)
    return share, latency if isinstance(latency, LatencyTable) else LatencyTable.from_file(latency)


def measured(model: nn.Module, *, img_size: tuple[int, int] | None = None, batch_size: int = 1, device: str = 'cpu',
             dtype: str = 'float32', restore_mode: str | None = None, seconds: float = SECONDS, again: bool = False,
             progress: Callable[[Measured], Any] | None = None) -> LatencyTable:
    """The table of a model on this machine: the one that is kept, or a new one.

    Args:
        model: A classifier, or any module that holds one backbone of this package, which is then timed alone, with its
            maps.
        img_size, batch_size, device, dtype, seconds, progress: As in :func:`~cait_mm.latency.measure.measure`.
        restore_mode: How a backbone that is timed alone restores maps; None is the way of compression.
        again: Measure although there is a table.

    Raises:
        UserError: As :func:`~cait_mm.latency.measure.measure`, or the table cannot be kept.
    """
    if not isinstance(model, Classifier):
        model = deepcopy(backbone_inside(model))
        model.set_restore_mode(restore_mode or LINEAR)
    way = way_of(model, img_size, batch_size, device, dtype)
    path = _path(model, way)
    if not again and path.is_file():
        with suppress(UserError):  # of an earlier version, or damaged
            table = LatencyTable.from_file(path)
            LOGGER.info('the latency table is %s', path)
            return table
    table = measure(model, img_size=img_size, batch_size=batch_size, device=device, dtype=dtype, seconds=seconds,
                    progress=progress)
    table.save(path)
    LOGGER.info('the latency table was measured and is kept as %s', path)
    return table


def _path(model: nn.Module, way: dict[str, Any]) -> Path:
    """The file of a model that runs in a ``way``; everything that times depend on is in its name or its digest."""
    arch = backbone_inside(model).arch
    key = json.dumps([arch.to_dict(), way], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    height, width = way['img_size']
    return folder() / f'{arch.name}_{height}x{width}_batch{way["batch_size"]}_{way["runtime"]}_{digest}.json'
