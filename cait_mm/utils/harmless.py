"""Types that training scripts leave in their checkpoints beside the weights, and what is read in their place.

``torch.load(weights_only=True)`` refuses every type that is not named to it. The ones here hold settings and records.
Plain ones are read as they are; classes of other packages are read as inert holders of the same data, so that nothing
of those packages runs and none has to be installed.
"""
import argparse
import collections
import datetime
import pathlib
import types
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch


class _Settings:
    """Stands for classes that are dicts: unpickling one gives an ``OrderedDict``."""

    def __new__(cls, *args: Any) -> Any:
        return collections.OrderedDict()


class _Inert:
    """Stands for other classes: unpickling one gives an object with the same attributes and no behaviour."""

    def __new__(cls, *args: Any) -> '_Inert':
        return super().__new__(cls)


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
    *(f'omegaconf.nodes.{kind}Node' for kind in ('Any', 'String', 'Integer', 'Float', 'Boolean', 'Path')),
)
_PATHS = {'Path': pathlib.PurePath, 'PosixPath': pathlib.PurePosixPath, 'PurePath': pathlib.PurePath,
          'PurePosixPath': pathlib.PurePosixPath, 'WindowsPath': pathlib.PureWindowsPath,
          'PureWindowsPath': pathlib.PureWindowsPath}
_PLAIN = (bool, int, float, str, bytes, list, dict, tuple, frozenset, range, slice, argparse.Namespace,
          types.SimpleNamespace, datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone)
_ARRAYS = ('i1', 'i2', 'u2', 'c8', 'c16', 'S1', 'U1', 'M8', 'm8')


def _named() -> list[tuple[Callable, str]]:
    """What is read for a type's full name."""
    return [
        *((kind, f'{kind.__module__}.{kind.__qualname__}') for kind in _PLAIN),
        *((_Settings, name) for name in _DICTS),
        *((_Inert, name) for name in _OBJECTS),
        *((path, f'{module}.{name}') for name, path in _PATHS.items() for module in ('pathlib', 'pathlib._local')),
        (_mapping, 'collections.defaultdict'),
        (_sequence, 'collections.deque'),
        *((kind, f'{kind.__module__}.{kind.__qualname__}') for kind in {type(np.dtype(kind)) for kind in _ARRAYS}),
    ]


def harmless_types() -> AbstractContextManager:
    """While it is entered, ``torch.load(weights_only=True)`` reads these types too.

    A no-op before torch 2.6, which cannot be told other names.
    """
    if torch.__version__ < torch.torch_version.TorchVersion('2.6'):
        return nullcontext()
    return torch.serialization.safe_globals(_named())
