"""Read a config of any OpenMMLab library and prepare this process for it."""
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
"""What registries and constructors raise where a config has a wrong key or value."""
_SCOPES = count()


def load_config(path: str, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, apply ``--cfg-options``, and register the library that its ``default_scope`` names.

    A Python config, also one that is a base, is a program and is run. YAML and JSON are read as data.

    Raises:
        UserError: The file is missing or no config, an option does not fit, or the library is not installed.
    """
    if Path(path).is_dir():
        raise UserError(f'config {path} is a folder: name a file in it.')
    if not Path(path).is_file():
        raise UserError(f'config {path} does not exist: configs/ holds the ones of this project.')
    try:
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
    # init_default_scope would warn, through whatever logger is there, each time a process changes the library.
    DefaultScope.get_instance(f'{scope}-{next(_SCOPES)}', scope_name=scope)
    return config


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether a config's model is the classifier of this package."""
    return (config.get('model') or {}).get('type') == 'Classifier'


def _reason(path: str, error: BaseException) -> str:
    if path.endswith(SUFFIXES) and isinstance(error, (AttributeError, TypeError)):
        return 'it holds no keys with values'
    return reason_of(error)


@contextmanager
def building(what: str, config: Config) -> Iterator[None]:
    """Build ``what`` of ``config`` in here: a wrong key or value becomes a sentence.

    Raises:
        UserError: Names the config and the reason.
    """
    try:
        yield
    except UserError:
        raise
    except BUILD_ERRORS as error:
        raise UserError(f'{what} of config {config.filename} cannot be built: {reason_of(error)}.') from error


@contextmanager
def without_parameter_lines() -> Iterator[None]:
    """Build an optim_wrapper in here without MMEngine's line in the log for every parameter's options."""
    logger = MMLogger.get_current_instance()

    def keep(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith('paramwise_options')

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
