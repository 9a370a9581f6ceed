"""Read a config of any OpenMMLab library and prepare this process for it."""
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from cait_mm.config.yaml_json import SUFFIXES, require_known_types
from cait_mm.errors import UserError, reason_of
from cait_mm.utils.schema import check_shape

LIBRARIES = ('mmseg', 'mmdet')
BUILD_ERRORS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, OSError,
                RuntimeError, TypeError, ValueError)
"""Raised by registries and constructors if a config has a wrong key or value."""
_SCOPES = count()


def load_config(path: str, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, apply ``--cfg-options``, and register the library that its ``default_scope`` names.

    A Python config, also as a base, is a program and is run. YAML and JSON are read as data. A config of this project
    is still found under its path in an earlier version, also as a base; a line on standard error names the new path.

    Raises:
        UserError: The file is missing or is no config, an option does not fit, or the library is not installed.
    """
    if Path(path).is_dir():
        raise UserError(f'config {path} is a folder: name a file in it.')
    path = _found(path)
    if not Path(path).is_file():
        raise UserError(f'config {path} does not exist: configs/ holds the ones of this project.')
    try:
        with _bases_found():
            config = Config.fromfile(path)
        config.merge_from_dict(dict(cfg_options or {}))
    except (Exception, SystemExit) as error:  # a config is a program: anything can go wrong in it
        options = ' with these --cfg-options' if cfg_options else ''
        raise UserError(f'config {path} cannot be read{options}: {_reason(path, error)}.') from error
    if path.endswith(SUFFIXES):
        require_known_types(config.to_dict())
    check_shape(config.to_dict(), path)
    scope = config.get('default_scope', 'mmengine')
    if scope in LIBRARIES:
        try:
            import_module(f'{scope}.utils').register_all_modules(init_default_scope=False)
        except ImportError as error:
            raise UserError(f'config {path} needs {scope}, which cannot be imported ({error}): install it.') from error
    # init_default_scope would warn each time a process changes the library.
    DefaultScope.get_instance(f'{scope}-{next(_SCOPES)}', scope_name=scope)
    return config


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether the model of a config is the classifier of this package."""
    return (config.get('model') or {}).get('type') == 'Classifier'


def moved_to(path: str) -> str | None:
    """The present path of a config that an earlier version had at ``path``: its name in ``moved.yml``, or in
    ``small/``.

    Both are looked for in the folder of ``path``. None if neither is a file.
    """
    old = Path(path)
    table = old.parent / 'moved.yml'
    lines = table.read_text(encoding='utf-8', errors='replace') if table.is_file() else ''
    renamed = re.search(rf'^{re.escape(old.stem)}: (\w+)$', lines, re.MULTILINE)
    name = (renamed[1] if renamed else old.stem) + old.suffix
    places = (old.parent / name, old.parent / 'small' / name)
    return next((str(place) for place in places if place.is_file()), None)


def _found(path: str) -> str:
    """``path``, or the present path of the config, which is then printed."""
    place = None if Path(path).is_file() else moved_to(path)
    if place:
        _note(path, place)
    return place or path


@cache
def _note(path: str, place: str) -> None:
    """Print a line once, however often this process reads the config."""
    print(f'note: {path} is now {place}.', file=sys.stderr)


@contextmanager
def _bases_found() -> Iterator[None]:
    """Let ``Config.fromfile`` find bases that have moved. MMEngine has no public function for it."""
    kept = vars(Config)['_get_cfg_path']

    def find(base: str, filename: str) -> tuple[str, str | None]:
        path, scope = kept.__func__(base, filename)
        return _found(path), scope

    Config._get_cfg_path = staticmethod(find)
    try:
        yield
    finally:
        Config._get_cfg_path = kept


def _reason(path: str, error: BaseException) -> str:
    if path.endswith(SUFFIXES) and isinstance(error, (AttributeError, TypeError)):
        return 'it holds no keys with values'
    return reason_of(error)


@contextmanager
def building(what: str, config: Config) -> Iterator[None]:
    """A context in which ``what`` of ``config`` is built.

    Raises:
        UserError: A key or value is wrong; the message names the config and the reason.
    """
    try:
        yield
    except UserError:
        raise
    except BUILD_ERRORS as error:
        raise UserError(f'{what} of config {config.filename} cannot be built: {reason_of(error)}.') from error


@contextmanager
def without_parameter_lines() -> Iterator[None]:
    """A context in which MMEngine does not log a line about the options of every parameter."""
    logger = MMLogger.get_current_instance()

    def keep(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith('paramwise_options')

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
