"""Pointing a config to another folder of data, instead of its ``data_root``."""
import posixpath
from collections.abc import Callable, MutableMapping
from typing import Any

from cait_mm.datasets.check_files import LOADERS, datasets_of
from cait_mm.errors import UserError


def move_data(config: MutableMapping[str, Any], root: str) -> None:
    """Replace the ``data_root`` of the datasets of ``config`` by ``root``.

    Every string of the config that is this folder or lies below it changes: the ``data_root`` of datasets, also inside
    wrappers, paths made from it (``ann_file`` and ``seg_prefix`` of an evaluator), and variables.

    Args:
        config: An MMEngine config, changed in place.
        root: The new folder.

    Raises:
        UserError: ``root`` is empty, or the datasets have no ``data_root`` or several that do not contain each other.
    """
    if not root:
        raise UserError('--data-root is empty: name the folder of the data.')
    roots = _roots(config)
    if not roots:
        raise UserError('the datasets of this config have no data_root, so --data-root has nothing to move: set their '
                        'data_prefix and ann_file with --cfg-options.')
    old = min(roots, key=len)
    apart = [path for path in roots if not _below(path, old)]
    if apart:
        raise UserError(f'the datasets of this config lie in several folders ({", ".join([old, *apart])}), so '
                        '--data-root cannot say which: set each data_root with --cfg-options.')

    def move(value: str) -> str:
        if not value or '://' in value or not _below(value, old):
            return value
        rest = posixpath.relpath(posixpath.normpath(value), old)
        moved = root if rest == '.' else posixpath.join(root, rest)
        return moved.rstrip('/') + '/' if value.endswith('/') else moved

    for key in list(config):
        if key != 'work_dir':
            config[key] = _mapped(config[key], move)


def _roots(config: MutableMapping[str, Any]) -> list[str]:
    """The folders, once each, in order."""
    named = [dataset.get('data_root') for loader in LOADERS
             for dataset in datasets_of((config.get(loader) or {}).get('dataset'))]
    return list(dict.fromkeys(posixpath.normpath(root) for root in named if isinstance(root, str) and root))


def _below(path: str, folder: str) -> bool:
    return posixpath.normpath(path) == folder or posixpath.normpath(path).startswith(folder.rstrip('/') + '/')


def _mapped(node: Any, change: Callable[[str], str]) -> Any:
    """``node`` with every string changed, mappings in place."""
    if isinstance(node, str):
        return change(node)
    if isinstance(node, MutableMapping):
        for key in list(node):
            node[key] = _mapped(node[key], change)
        return node
    if isinstance(node, (list, tuple)):
        return type(node)([_mapped(value, change) for value in node])
    return node
