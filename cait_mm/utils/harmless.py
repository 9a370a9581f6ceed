"""Types that training scripts leave in their checkpoints next to the weights, and their harmless replacements.

``torch.load(weights_only=True)`` refuses every type that it was not told of. The types here hold settings and records.
Plain types are read unchanged. Classes of other packages are read as inert holders of the same data, so no code of
those packages runs and they need not be installed.
"""
import argparse
import collections
import datetime
import pathlib
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch


class _Settings:
    """Replaces classes that are dicts: unpickling one gives an ``OrderedDict``."""

    def __new__(cls, *args: Any) -> Any:
        return collections.OrderedDict()


class _Inert:
    """Replaces other classes: unpickling one gives an object with the same attributes and no behaviour."""

    def __new__(cls, *args: Any) -> '_Inert':
        return super().__new__(cls)


def _method(owner: Any, name: str) -> str:
    """Replaces ``getattr``, with which MMEngine's history buffers refer to their own methods; returns the name."""
    if owner is not _Inert:
        raise TypeError(f'a checkpoint may not refer to {owner!r}.{name}')
    return name


def _mapping(*factory: Any) -> Any:
    return collections.OrderedDict()


def _sequence(*content: Any) -> Any:
    return list(content[0]) if content else []


_DICTS = (
    'yacs.config.CfgNode', 'fvcore.common.config.CfgNode', 'detectron2.config.config.CfgNode', 'addict.addict.Dict',
    'easydict.EasyDict', 'mmcv.utils.config.ConfigDict', 'mmengine.config.config.ConfigDict',
    'pytorch_lightning.utilities.parsing.AttributeDict', 'lightning.pytorch.utilities.parsing.AttributeDict',
    'lightning.fabric.utilities.data.AttributeDict', 'lightning_fabric.utilities.data.AttributeDict',
)
_OBJECTS = (
    'mmcv.utils.config.Config', 'mmengine.config.config.Config', 'omegaconf.dictconfig.DictConfig',
    'omegaconf.listconfig.ListConfig', 'omegaconf.base.ContainerMetadata', 'omegaconf.base.Metadata', 'typing.Any',
    'mmengine.logging.history_buffer.HistoryBuffer',
    *(f'omegaconf.nodes.{kind}Node' for kind in ('Any', 'String', 'Integer', 'Float', 'Boolean', 'Path')),
)
_PATHS = {'Path': pathlib.PurePath, 'PosixPath': pathlib.PurePosixPath, 'PurePath': pathlib.PurePath,
          'PurePosixPath': pathlib.PurePosixPath, 'WindowsPath': pathlib.PureWindowsPath,
          'PureWindowsPath': pathlib.PureWindowsPath}
_PLAIN = (bool, int, float, str, bytes, list, dict, tuple, frozenset, range, slice, argparse.Namespace,
          types.SimpleNamespace, datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone)
_ARRAYS = ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', '?', 'c8', 'c16', 'S1', 'U1', 'M8', 'm8')
_MADE_BY = {'_reconstruct': np.empty(0).__reduce__()[0], 'scalar': np.float64(0).__reduce__()[0]}


def _named() -> list[tuple[Callable, str]]:
    """The replacement for a type, by its full name."""
    return [
        *((kind, f'{kind.__module__}.{kind.__qualname__}') for kind in _PLAIN),
        *((_Settings, name) for name in _DICTS),
        *((_Inert, name) for name in _OBJECTS),
        *((path, f'{module}.{name}') for name, path in _PATHS.items() for module in ('pathlib', 'pathlib._local')),
        (_mapping, 'collections.defaultdict'),
        (_sequence, 'collections.deque'),
        (_method, 'builtins.getattr'),
        (np.ndarray, 'numpy.ndarray'),
        (np.dtype, 'numpy.dtype'),
        *((function, f'numpy.{core}.multiarray.{name}') for name, function in _MADE_BY.items()
          for core in ('core', '_core')),
        *((kind, f'{kind.__module__}.{kind.__qualname__}') for kind in {type(np.dtype(kind)) for kind in _ARRAYS}),
    ]


def harmless_types() -> AbstractContextManager:
    """A context in which ``torch.load(weights_only=True)`` also reads these types.

    Types that were allowed before keep their own way to be read.
    """
    allowed = {item[1] if isinstance(item, tuple) else f'{item.__module__}.{item.__qualname__}'
               for item in torch.serialization.get_safe_globals()}
    return torch.serialization.safe_globals([item for item in _named() if item[1] not in allowed])
