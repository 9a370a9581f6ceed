"""Configs in YAML and JSON are data: no code from them runs while they are read and their objects are built.

MMEngine's loader of YAML calls the function that a tag like ``!!python/object/apply`` names, and its registries import
and call anything that a ``type`` with dots names, such as ``os.system``.
"""
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import yaml
from mmcv.transforms import BaseTransform
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.fileio import YamlHandler, register_handler
from mmengine.hooks import Hook
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.runner import BaseLoop
from mmengine.utils import get_object_from_string
from mmengine.visualization import BaseVisBackend, Visualizer
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, Sampler

from cait_mm.errors import UserError

SUFFIXES = ('.yaml', '.yml', '.json')
MOST_VALUES = 1_000_000
_PACKAGES = ('cait_mm', 'mmcv', 'mmdet', 'mmengine', 'mmseg', 'torch')
_PARTS = (nn.Module, Dataset, Sampler, BaseTransform, Hook, BaseMetric, Evaluator, BaseLoop, Optimizer, OptimWrapper,
          DefaultOptimWrapperConstructor, Visualizer, BaseVisBackend)


class _ValueLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
    """PyYAML's safe loader, extended by the tuples that ``Config.dump`` writes."""


_ValueLoader.add_constructor('tag:yaml.org,2002:python/tuple',
                             lambda loader, node: tuple(loader.construct_sequence(node, deep=True)))


@register_handler(['yaml', 'yml'])
class SafeYamlHandler(YamlHandler):
    """MMEngine's handler for YAML, without Python objects.

    Registering it makes ``mmengine.load`` and ``Config.fromfile`` safe in the whole process, for inferencers too.
    """

    def load_from_fileobj(self, file: TextIO, **kwargs: Any) -> Any:
        """The values in a file.

        Raises:
            UserError: It is no YAML, names a Python object, or expands to more than a million values.
        """
        try:
            content = yaml.load(file, **{**kwargs, 'Loader': _ValueLoader})
        except yaml.constructor.ConstructorError as error:
            raise UserError(f'its YAML asks for more than values ({error.problem}), which could run any program: '
                            'remove the tag, or write a Python config') from error
        except yaml.YAMLError as error:
            mark = getattr(error, 'problem_mark', None)
            raise UserError(f'it is no YAML ({getattr(error, "problem", None) or error}'
                            f'{f", line {mark.line + 1}" if mark else ""})') from error
        if _count(content, {}) > MOST_VALUES:
            raise UserError(f'its aliases expand to more than {MOST_VALUES:,} values: write it without them')
        return content


def require_known_types(config: Mapping[str, Any]) -> None:
    """Check that every ``type`` with dots in a config of YAML or JSON names a part of the OpenMMLab libraries, of torch
    or of this package.

    Parts of other packages can be used by their registered names, after ``custom_imports``.

    Raises:
        UserError: One names something else.
    """
    for key, name in _dotted_types(config, ''):
        scope, _, rest = name.partition('.')
        if scope not in _PACKAGES:
            part = None
        elif '.' not in rest and scope != 'torch':
            continue  # a scope and a registered name
        else:
            part = get_object_from_string(name)
        if not (inspect.isclass(part) and issubclass(part, _PARTS)):
            raise UserError(f'{key}.type={name!r}: a config of YAML or JSON may name only models, datasets, '
                            f'transforms, hooks, metrics and optimizers of {", ".join(_PACKAGES)} by their path; name '
                            'others as they are registered, or write a Python config.')


def _dotted_types(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        if isinstance(node.get('type'), str) and '.' in node['type']:
            yield key.lstrip('.'), node['type']
        for name, value in node.items():
            yield from _dotted_types(value, f'{key}.{name}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _dotted_types(value, f'{key}.{index}')


def _count(node: Any, known: dict[int, int]) -> int:
    """The number of values below ``node``; those behind an alias count as often as it is used."""
    if not isinstance(node, (dict, list, tuple)):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # a node that contains itself has no end
        known[id(node)] = 1 + sum(_count(value, known) for value in (node.values() if isinstance(node, dict) else node))
    return known[id(node)]
