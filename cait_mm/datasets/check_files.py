"""Checks, before a run starts, that the folders and files of a config's data exist."""
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cait_mm.datasets.texts import PICKLE, PICKLES
from cait_mm.errors import UserError
from cait_mm.utils.images import walk_images
from cait_mm.utils.inputs import require_file
from cait_mm.utils.pictures import read_image

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
PAGE = 'docs/prepare_data.md'
# a folder name on the way to the data, and the section of the page that tells how to get them
_ANCHORS = {
    'ade': 'ade20k', 'ade20k': 'ade20k', 'adechallengedata2016': 'ade20k', 'coco': 'coco', 'imagenet': 'imagenet',
    'camvid': 'camvid', 'isaid': 'isaid', 'potsdam': 'potsdam', 'scenes': 'scenes', 'synapse': 'synapse',
    'acdc': 'acdc', 'polyp': 'polyp', 'cvc_clinicdb': 'polyp',
}


def missing_data(cfg: Mapping[str, Any], loaders: Sequence[str] = LOADERS) -> list[str]:
    """A sentence for every folder or annotation file of the datasets in ``cfg`` that is missing or is a pickle.

    Paths are joined as in MMSegmentation and MMDetection: ``data_root`` comes before the values of ``data_prefix`` and
    before ``ann_file`` unless they are absolute. An empty folder counts as missing; addresses of remote stores are not
    checked.

    Args:
        cfg: An MMEngine config or a plain dict.
        loaders: The dataloaders to check; those that the config lacks are skipped.
    """
    wanted: dict[tuple[str, bool], tuple[list[str], str]] = {}
    for loader in loaders:
        for path, is_file, root in _wanted(cfg, loader):
            names, _ = wanted.setdefault((path, is_file), ([], root))
            names.append(loader)
    return [_sentence(path, is_file, names, root) for (path, is_file), (names, root) in wanted.items()
            if not _there(path, is_file) or _is_pickle(path, is_file)]


def describe_data(cfg: Mapping[str, Any], loaders: Sequence[str] = LOADERS) -> dict[str, dict[str, list[str]]]:
    """The folders and files of the datasets of each loader, as lists ``found``, ``missing`` and ``unreadable``, and
    ``remedies``.

    The number of entries is given for a folder that exists; it is unreadable if its first picture cannot be decoded. An
    annotation file only has to open and not to be empty.
    """
    described = {}
    for loader in (name for name in loaders if cfg.get(name)):
        states = described[loader] = {'found': [], 'missing': [], 'unreadable': [], 'remedies': []}
        for path, is_file, root in _wanted(cfg, loader):
            trouble = _trouble(path, is_file)
            if not _there(path, is_file):
                states['missing'].append(path)
                if _remedy(path, root) not in states['remedies']:
                    states['remedies'].append(_remedy(path, root))
            elif trouble:
                states['unreadable'].append(f'{path} ({trouble})')
            else:
                count = '' if is_file else f' ({len(os.listdir(path))} entries)'
                states['found'].append(path + count)
    return described


def require_data(cfg: Mapping[str, Any], path: str, loaders: Sequence[str] = LOADERS) -> None:
    """Refuse a run whose data are not there.

    Raises:
        UserError: Data are missing; the message names the first path and the command that lists all.
    """
    problems = missing_data(cfg, loaders)
    if problems:
        more = f' {len(problems) - 1} more are missing: python tools/check_data.py {path} lists them.'
        raise UserError(problems[0] + (more if len(problems) > 1 else ''))


def _wanted(cfg: Mapping[str, Any], loader: str) -> list[tuple[str, bool, str]]:
    """Every local path of the datasets of a loader once, with whether it is a file and its ``data_root``."""
    roots = {}
    for dataset in datasets_of((cfg.get(loader) or {}).get('dataset')):
        for path, is_file in _paths(dataset):
            roots.setdefault((path, is_file), str(dataset.get('data_root') or ''))
    return [(*key, root) for key, root in roots.items()]


def datasets_of(node: Any) -> Iterator[Mapping[str, Any]]:
    """The datasets inside wrappers such as RepeatDataset, ConcatDataset and ClassBalancedDataset."""
    if isinstance(node, (list, tuple)):
        for part in node:
            yield from datasets_of(part)
    elif isinstance(node, Mapping):
        inner = [node[key] for key in ('dataset', 'datasets') if key in node]
        if inner:
            yield from datasets_of(inner)
        else:
            yield node


def _paths(dataset: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Every local path of a dataset, and whether it is a file."""
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix')
    folders = list(prefix.values()) if isinstance(prefix, Mapping) else [prefix or '']
    for folder in folders:
        if isinstance(folder, str):
            yield from _local(root, folder, False)
    annotations = dataset.get('ann_file') or ''
    if isinstance(annotations, str) and annotations:
        yield from _local(root, annotations, True)


def _local(root: str, path: str, is_file: bool) -> Iterator[tuple[str, bool]]:
    joined = posixpath.join(root, path).rstrip('/') or ('/' if root or path else '')
    if joined and '://' not in joined:
        yield joined, is_file


def _there(path: str, is_file: bool) -> bool:
    if is_file:
        return os.path.exists(path)
    if not os.path.isdir(path):
        return False
    with os.scandir(path) as entries:
        return next(entries, None) is not None


def _trouble(path: str, is_file: bool) -> str | None:
    """The reason why an existing path cannot be read; None if it can."""
    try:
        if is_file:
            return _unreadable_file(path)
        picture = next(walk_images(path), None)
        if picture is not None:
            read_image(picture)
    except OSError as error:
        return error.strerror
    except UserError as error:
        return str(error).rstrip('.')
    return None


def _unreadable_file(path: str) -> str | None:
    if os.path.isfile(path) and not os.path.getsize(path):
        return 'it is empty'
    require_file(path)
    if _is_pickle(path, True):
        return f'it {PICKLE}'
    with open(path, 'rb'):
        return None


def _is_pickle(path: str, is_file: bool) -> bool:
    return is_file and path.endswith(PICKLES)


def _sentence(path: str, is_file: bool, loaders: Sequence[str], root: str) -> str:
    if _is_pickle(path, is_file) and _there(path, is_file):
        return f'The annotation file {path} ({" and ".join(loaders)}) {PICKLE}.'
    what = f'The annotation file {path} does not exist' if is_file else f'The folder {path} does not exist or is empty'
    return f'{what} ({" and ".join(loaders)}): {_remedy(path, root)}.'


def _remedy(path: str, root: str) -> str:
    anchor = next((_ANCHORS[part.lower()] for part in f'{root}/{path}'.split('/') if part.lower() in _ANCHORS), '')
    page = f'see {PAGE}#{anchor}' if anchor else f'see {PAGE}'
    if anchor == 'scenes':
        return f'make them with python tools/make_scenes.py {root.rstrip("/") or "data/scenes"}, {page}'
    return page
