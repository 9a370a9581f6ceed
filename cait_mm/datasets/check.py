"""Say what a config's data lack before a run starts, and where to read how to get them.

    python -m cait_mm.datasets.check configs/NAME.py
"""
import argparse
import os
import posixpath
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from cait_mm.errors import UserError
from cait_mm.utils.cli import run
from cait_mm.utils.configs import load_config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
PAGE = 'docs/prepare_data.md'
# a folder name on the way to the data, and the section of the page that tells how to get them
_ANCHORS = {
    'ade': 'ade20k', 'ade20k': 'ade20k', 'adechallengedata2016': 'ade20k', 'coco': 'coco', 'imagenet': 'imagenet',
    'camvid': 'camvid', 'scenes': 'scenes',
}


def missing_data(cfg: Mapping[str, Any], loaders: Sequence[str] = LOADERS) -> List[str]:
    """One sentence per folder or annotation file that the datasets of ``cfg`` name and that is not there.

    Paths are put together as MMSegmentation and MMDetection do: ``data_root`` before the values of ``data_prefix`` and
    before ``ann_file`` unless they are absolute. A folder that is empty counts as missing; addresses of remote stores
    are not looked at.

    Args:
        cfg: An MMEngine config or a plain dict.
        loaders: The dataloaders to look at; those that the config lacks are passed over.
    """
    wanted: Dict[Tuple[str, bool], Tuple[List[str], str]] = {}
    for loader in loaders:
        for dataset in _datasets((cfg.get(loader) or {}).get('dataset')):
            for path, is_file in _paths(dataset):
                names, _ = wanted.setdefault((path, is_file), ([], str(dataset.get('data_root') or '')))
                if loader not in names:
                    names.append(loader)
    return [_sentence(path, is_file, names, root) for (path, is_file), (names, root) in wanted.items()
            if not _there(path, is_file)]


def require_data(cfg: Mapping[str, Any], path: str, loaders: Sequence[str] = LOADERS) -> None:
    """Stop before a run whose data are not there.

    Raises:
        UserError: One sentence with the first thing that is missing and how to list the rest.
    """
    problems = missing_data(cfg, loaders)
    if problems:
        more = f' {len(problems) - 1} more are missing: python -m cait_mm.datasets.check {path} lists them.'
        raise UserError(problems[0] + (more if len(problems) > 1 else ''))


def _datasets(node: Any) -> Iterator[Mapping[str, Any]]:
    """The datasets with files of their own inside wrappers like RepeatDataset, ConcatDataset, ClassBalancedDataset."""
    if isinstance(node, (list, tuple)):
        for part in node:
            yield from _datasets(part)
    elif isinstance(node, Mapping):
        inner = [node[key] for key in ('dataset', 'datasets') if key in node]
        if inner:
            yield from _datasets(inner)
        else:
            yield node


def _paths(dataset: Mapping[str, Any]) -> Iterator[Tuple[str, bool]]:
    """Every local path of one dataset and whether it is a file."""
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix')
    folders = list(prefix.values()) if isinstance(prefix, Mapping) else [prefix or '']
    for folder in folders:
        if isinstance(folder, str):
            yield from _local(root, folder, False)
    annotations = dataset.get('ann_file') or ''
    if isinstance(annotations, str) and annotations:
        yield from _local(root, annotations, True)


def _local(root: str, path: str, is_file: bool) -> Iterator[Tuple[str, bool]]:
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


def _sentence(path: str, is_file: bool, loaders: Sequence[str], root: str) -> str:
    anchor = next((_ANCHORS[part.lower()] for part in f'{root}/{path}'.split('/') if part.lower() in _ANCHORS), '')
    what = f'The annotation file {path} does not exist' if is_file else f'The folder {path} does not exist or is empty'
    remedy = f'see {PAGE}#{anchor}' if anchor else f'see {PAGE}'
    if anchor == 'scenes':
        remedy = f'make them with python tools/make_scenes.py {root.rstrip("/") or "data/scenes"}, {remedy}'
    return f'{what} ({" and ".join(loaders)}): {remedy}.'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    path = parser.parse_args().config
    problems = missing_data(load_config(path))
    if problems:
        raise UserError('\n'.join(problems))
    print(f'Every folder and annotation file that {path} names is there.')


if __name__ == '__main__':
    run(main)
