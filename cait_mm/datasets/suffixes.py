"""Datasets that find their files by suffix, and suffixes that fit none."""
import inspect
import os
from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from mmengine.registry import DATASETS, DefaultScope

from cait_mm.datasets.check import LOADERS, datasets_of

_FOLDERS = {'img_suffix': 'img_path', 'seg_map_suffix': 'seg_map_path'}


def suffix_problems(config: Mapping[str, Any], loaders: Sequence[str] = LOADERS) -> List[str]:
    """One sentence per folder in which a dataset of MMSegmentation's kind would find nothing, with what is there.

    Folders that do not exist and datasets that a list file describes are passed over.
    """
    found: Dict[str, List[str]] = {}
    for loader in loaders:
        for dataset in datasets_of((config.get(loader) or {}).get('dataset')):
            for problem in _problems(dataset):
                found.setdefault(problem, []).append(loader)
    return [f'{" and ".join(names)}: {problem}' for problem, names in found.items()]


def _problems(dataset: Mapping[str, Any]) -> Iterator[str]:
    prefix = dataset.get('data_prefix')
    if dataset.get('ann_file') or not isinstance(prefix, Mapping):
        return
    for name, suffix in _suffixes(dataset).items():
        folder = os.path.join(dataset.get('data_root') or '', prefix.get(_FOLDERS[name]) or '')
        if prefix.get(_FOLDERS[name]) and os.path.isdir(folder) and not any(
                file.endswith(suffix) for file in _files(folder)):
            there = Counter(os.path.splitext(file)[1] or file for file in _files(folder))
            listed = ', '.join(f'{count} of {kind}' for kind, count in there.most_common(5))
            yield f'{name}={suffix!r} fits no file in {folder}, which has {listed or "none"}: set dataset.{name}.'


def _suffixes(dataset: Mapping[str, Any]) -> Dict[str, str]:
    """What the dataset looks for: its own values, or the defaults of its class."""
    kind = _class_of(dataset.get('type'))
    base = next((parent for parent in getattr(kind, '__mro__', ()) if parent.__name__ == 'BaseSegDataset'), None)
    if base is None or kind.load_data_list is not base.load_data_list:
        return {}  # it finds its files in another way
    defaults = {}
    for parent in reversed(kind.__mro__):
        if '__init__' in vars(parent):
            defaults.update({name: parameter.default for name, parameter in
                             inspect.signature(parent.__init__).parameters.items() if name in _FOLDERS})
    return {name: value for name in defaults if isinstance(value := dataset.get(name, defaults[name]), str) and value}


def _class_of(name: Any) -> Optional[type]:
    if isinstance(name, str):
        scope = DefaultScope.get_current_instance()
        with DATASETS.switch_scope_and_registry(scope.scope_name if scope else None) as registry:
            name = registry.get(name)
    return name if inspect.isclass(name) else None


def _files(folder: str) -> Iterator[str]:
    for _, _, files in os.walk(folder, followlinks=True):
        yield from files
