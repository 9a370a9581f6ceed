"""Whether the parts of a config belong to the same data: loaders to each other, evaluators to their loaders."""
import filecmp
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from cait_mm.datasets.build import unread_dataset
from cait_mm.datasets.check_files import LOADERS, datasets_of
from cait_mm.errors import UserError

MOST_FILES = 20000
"""The number of files of a folder whose suffixes are read."""


def loader_problems(config: Config, loaders: Sequence[str] = LOADERS) -> list[str]:
    """The mismatches between the loaders and evaluators of a config, a sentence for each; no label is read.

    These are suffixes that no file has, classes or ``reduce_zero_label`` that are set on only one loader, and an
    ``ann_file`` or ``seg_prefix`` of an evaluator that differs from its loader's.
    :func:`cait_mm.datasets.check_files.missing_data` looks for missing paths.

    Args:
        config: A config from :func:`cait_mm.config.load.load_config`.
        loaders: The dataloaders to check; those that the config lacks are skipped.
    """
    problems, classes, shifted = [], {}, {}
    for loader in (name for name in loaders if config.get(name)):
        for node in datasets_of(config[loader].get('dataset')):
            dataset = _unread(node, config)
            if dataset is not None:
                problems += _suffix_problems(loader, dataset)
                classes.setdefault(loader, list((dataset.metainfo or {}).get('classes') or ()))
                shifted.setdefault(getattr(dataset, 'reduce_zero_label', False), []).append(loader)
        problems += _evaluator_problems(config, loader)
    if len(shifted) > 1:
        problems.append(f'{shifted[True][0]} has reduce_zero_label=True and {shifted[False][0]} has not, so their '
                        'labels differ by one: set the same for both.')
    return list(dict.fromkeys([*problems, *class_problems(classes)]))


def class_problems(classes: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for every loader whose classes differ from those of the first one.

    Args:
        classes: By loader, training first if it is there. Classes called "0", "1", ... come from list files and are not
            compared.
    """
    named = {loader: list(names) for loader, names in classes.items() if not _numbers(names)}
    first = next(iter(named), None)
    return [_difference(first, named[first], loader, names) for loader, names in named.items() if names != named[first]]


def dataset_problems(loader: str, dataset: Any) -> list[str]:
    """Reasons why a built dataset is useless: it has no items, or its COCO file lacks its classes."""
    wanted = list((getattr(dataset, 'metainfo', None) or {}).get('classes') or ())
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', dataset)]
    if any(hasattr(part, 'cat_ids') and not part.cat_ids for part in inner):
        return [f'{loader}: no category of its annotation file has the name of a class ({_listed(wanted)}): set '
                'metainfo.classes to the names in the file.']
    partial = next((part for part in inner if len(getattr(part, 'cat_ids', wanted)) != len(wanted)), None)
    if partial is not None:  # MMDetection numbers the others in the file's order
        return [f'{loader}: {len(partial.cat_ids)} of its {len(wanted)} classes are categories of {partial.ann_file}, '
                'and the others would shift its labels: set metainfo.classes to the names in the file.']
    return [] if len(dataset) else [f'{loader}: the dataset has no items: python tools/check_data.py says more.']


def _numbers(names: Sequence[str]) -> bool:
    return bool(names) and list(names) == [str(index) for index in range(len(names))]


def _unread(node: Mapping[str, Any], config: Config) -> Any | None:
    """The dataset without its files read; None if it has no such state or cannot be built (checked elsewhere)."""
    if 'type' not in node:
        return None
    try:
        return unread_dataset(node, config)
    except UserError:
        return None


def _suffix_problems(loader: str, dataset: Any) -> Iterator[str]:
    """Suffixes that MMSegmentation looks for and no file has. Datasets that list their files themselves need none."""
    if getattr(type(dataset), 'load_data_list', None) is None or not hasattr(dataset, 'img_suffix'):
        return
    if type(dataset).load_data_list.__module__ != 'mmseg.datasets.basesegdataset':
        return
    for key, folder_key in (('img_suffix', 'img_path'), ('seg_map_suffix', 'seg_map_path')):
        folder, suffix = (dataset.data_prefix or {}).get(folder_key), getattr(dataset, key)
        if not folder or '://' in folder or not os.path.isdir(folder):
            continue
        suffixes = Counter()
        for name in _names(folder):
            if name.endswith(suffix):
                break
            suffixes[os.path.splitext(name)[1]] += 1
        else:
            if suffixes:
                there = ', '.join(f'{count} in "{end}"' for end, count in suffixes.most_common(5))
                yield (f'{loader}: no file below {folder} ends in "{suffix}" ({there}): set its dataset\'s {key}, to '
                       f'"{suffixes.most_common(1)[0][0]}" for example.')


def _names(folder: str) -> Iterator[str]:
    count = 0
    for _, _, files in os.walk(folder, followlinks=True):
        for name in files:
            count += 1
            if count > MOST_FILES:
                return
            if not name.startswith('.'):
                yield name


def _difference(first: str, wanted: Sequence[str], loader: str, names: Sequence[str]) -> str:
    both = f'{first} and {loader}'
    if not names or not wanted:
        lacking, other = (loader, first) if not names else (first, loader)
        return f'{lacking} has no classes and {other} has {len(names or wanted)}: set the same metainfo for both.'
    if set(names) == set(wanted):
        return f'{both} have the same classes in another order, so their labels differ: set the same metainfo for both.'
    extra, lacking = [sorted(set(one) - set(other)) for one, other in ((names, wanted), (wanted, names))]
    parts = [f'{_listed(some)} {"is" if len(some) == 1 else "are"} in {where} alone'
             for some, where in ((lacking, first), (extra, loader)) if some]
    return (f'{both} have different classes ({len(wanted)} and {len(names)}; {"; ".join(parts)}): set the same '
            'metainfo for both, or give both the same class folders.')


def _listed(names: Sequence[str]) -> str:
    return ', '.join(map(str, names[:5])) + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def _evaluator_problems(config: Config, loader: str) -> Iterator[str]:
    name = loader.replace('_dataloader', '_evaluator')
    nodes = list(datasets_of(config[loader].get('dataset')))
    for key, metric in _metrics(config.get(name), name):
        for entry, read in (('ann_file', 'ann_file'), ('seg_prefix', 'seg')):
            path = metric.get(entry)
            used = [_path(node, read) for node in nodes]
            if not isinstance(path, str) or not path or not all(used) or any(_same(path, other) for other in used):
                continue
            lost = '' if os.path.exists(path) or '://' in path else ', and it does not exist'
            yield (f'{key}.{entry} is {path}{lost}, and {loader} reads {used[0]}: the score would be of other '
                   f'annotations; set {key}.{entry} to the same path.')


def _metrics(node: Any, key: str) -> Iterator[Any]:
    """Every metric of an evaluator with its key; an evaluator is a metric, a list, or MMEngine's Evaluator."""
    if isinstance(node, (list, tuple)):
        for index, part in enumerate(node):
            yield from _metrics(part, f'{key}.{index}')
    elif isinstance(node, Mapping):
        if 'metrics' in node:
            yield from _metrics(node['metrics'], f'{key}.metrics')
        else:
            yield key, node


def _path(node: Mapping[str, Any], key: str) -> str:
    """The annotation file of a dataset, or a folder of its ``data_prefix``, joined with its root."""
    prefix = node.get('data_prefix')
    value = node.get('ann_file') if key == 'ann_file' else prefix.get(key) if isinstance(prefix, Mapping) else None
    return posixpath.join(node.get('data_root') or '', value) if isinstance(value, str) and value else ''


def _same(one: str, other: str) -> bool:
    if '://' in one or '://' in other:
        return one == other
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    return os.path.isfile(one) and os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)
