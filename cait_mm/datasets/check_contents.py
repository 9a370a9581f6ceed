"""Checks of a config's data before hours of training: broken pictures, labels without pictures, ids out of range.

The datasets are built as in training, without a pipeline, so the same files are read.
"""
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from cait_mm.datasets.agreement import class_problems, dataset_problems, loader_problems
from cait_mm.datasets.build import build_dataset, unread_dataset, untransformed
from cait_mm.datasets.check_files import datasets_of
from cait_mm.datasets.coco_file import content_problems, read_json, structure_problems
from cait_mm.datasets.heads import head_problems
from cait_mm.datasets.images import ImageFolder
from cait_mm.datasets.label_maps import LabelCount, label_map_problems
from cait_mm.datasets.loading import read_size
from cait_mm.datasets.subjects import shared_subjects, subjects_of
from cait_mm.errors import UserError
from cait_mm.utils.images import spread

Progress = Callable[[Sequence[dict[str, Any]]], Iterable[dict[str, Any]]]


def check_contents(config: Config, loaders: Sequence[str], samples: int | None = 50,
                   progress: Progress = iter) -> dict[str, dict[str, Any]]:
    """Mistakes in the data of ``loaders``, whose folders and annotation files are all there.

    Names and annotation files are checked over whole datasets. Of pictures and label maps, ``samples`` are decoded,
    spread evenly over a dataset; None decodes all. ``progress`` is called with the list of those to decode and returns
    an iterable over them.

    Returns:
        By loader: the numbers of ``items`` and of ``decoded`` ones, ``classes``, and sentences: ``problems``, and
        ``remarks`` on things that may be intended. A patient in training and in another loader is a problem of the
        latter.
    """
    inspected, subjects = {}, {}
    for loader in loaders:
        nodes = [node for node in datasets_of(config[loader].dataset) if 'type' in node]
        states = dict(items=0, decoded=0, classes=[], problems=[], remarks=[])
        for node in nodes:
            try:
                _check_dataset(node, config, loader == 'train_dataloader', samples, states,
                               subjects.setdefault(loader, set()), progress)
            except UserError as error:
                states['problems'].append(str(error))
        if nodes:
            inspected[loader] = states
    for loader in set(subjects) - {'train_dataloader'}:
        inspected[loader]['problems'] += shared_subjects(subjects.get('train_dataloader', set()), subjects[loader])
    return inspected


def mismatches(config: Config, loaders: Sequence[str], inspected: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The mismatches of a config with its data or within itself: loaders, evaluators, and the heads of its model.

    Args:
        config: The config.
        loaders: The loaders whose folders and annotation files are all there.
        inspected: The result of :func:`check_contents` for them.
    """
    classes = {loader: states['classes'] for loader, states in inspected.items() if states['classes']}
    problems = [*loader_problems(config, loaders), *class_problems(classes)]
    if config.get('model'):
        problems += [problem for names in classes.values() for problem in head_problems(config.model, names)]
    return list(dict.fromkeys(problems))


def _check_dataset(node: Mapping[str, Any], config: Config, training: bool, samples: int | None,
                   states: dict[str, Any], subjects: set[str], progress: Progress) -> None:
    """Check a dataset, and add the results to ``states`` and ``subjects``."""
    problems, remarks, readable = _annotation_problems(node, config, training)
    states['problems'] += problems
    states['remarks'] += remarks
    if not readable:
        return
    dataset = build_dataset(untransformed(node), config)
    pairs = _pairs(dataset)
    if not pairs:
        states['problems'] += dataset_problems(str(node['type']).split('.')[-1], dataset)
    chosen = pairs if samples is None else spread(pairs, samples)
    classes = list((dataset.metainfo or {}).get('classes') or ())
    states['classes'] = states['classes'] or classes
    count = LabelCount()
    states['problems'] += _unpaired(dataset, pairs)
    states['problems'] += [problem for pair in progress(chosen) for problem in _undecodable(dataset, pair, count)]
    problems, remarks = count.judged(classes, training, len(chosen) == len(pairs))
    states['problems'] += problems
    states['remarks'] += remarks
    states['items'] += len(pairs)
    states['decoded'] += len(chosen)
    subjects |= subjects_of(dataset)


def _annotation_problems(node: Mapping[str, Any], config: Config,
                         training: bool) -> tuple[list[str], list[str], bool]:
    """Problems and remarks about a COCO file, and whether the library can read it; other files are not checked."""
    try:
        dataset = unread_dataset(node, config)
    except UserError:  # no dataset of MMEngine, or one that cannot be built, which is reported when it is
        return [], [], True
    # subclasses for entries of another kind (panoptic segments) have a parser of their own
    parser = getattr(getattr(dataset, 'parse_data_info', None), '__module__', '')
    path = str(getattr(dataset, 'ann_file', ''))
    if parser != 'mmdet.datasets.coco' or '://' in path:
        return [], [], True
    content = read_json(path)
    problems = structure_problems(path, content, training)
    if problems:
        return problems, [], False
    classes = dataset.metainfo.get('classes') or ()
    return (*content_problems(path, content, classes, _reads_masks(node.get('pipeline')), training), True)


def _reads_masks(pipeline: Any) -> bool:
    """Whether a step of a pipeline's config, or one inside it, asks for masks."""
    if isinstance(pipeline, Mapping):
        return bool(pipeline.get('with_mask')) or _reads_masks(list(pipeline.values()))
    return isinstance(pipeline, (list, tuple)) and any(map(_reads_masks, pipeline))


def _pairs(dataset: Any) -> list[dict[str, Any]]:
    """Items with ``img_path``, and ``seg_map_path`` if they have one."""
    if isinstance(dataset, ImageFolder):
        return [dict(img_path=path) for path, _ in dataset.samples]
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def _unpaired(dataset: Any, pairs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Sentences about annotated pictures that are missing, and about label maps or pictures without the other."""
    for pair in pairs:
        if not _there(pair['img_path']):
            yield f'picture {pair["img_path"]} does not exist, but it is annotated.'
        if pair.get('seg_map_path') and not _there(pair['seg_map_path']):
            yield f'picture {pair["img_path"]} has no label map {pair["seg_map_path"]}.'
    folder = (getattr(dataset, 'data_prefix', None) or {}).get('seg_map_path')
    suffix = getattr(dataset, 'seg_map_suffix', None)
    if folder and suffix and os.path.isdir(folder) and not getattr(dataset, 'ann_file', ''):
        known = {os.path.abspath(pair['seg_map_path']) for pair in pairs}
        for path in sorted(Path(folder).rglob(f'*{suffix}')):
            if os.path.abspath(path) not in known:
                yield f'label map {path} has no picture.'


def _there(path: str) -> bool:
    """Whether a path exists; addresses of this package's datasets do, because the datasets have listed the files."""
    return '://' in path or os.path.exists(path)


def _undecodable(dataset: Any, pair: Mapping[str, Any], count: LabelCount) -> Iterator[str]:
    """Sentences about a picture or label map that cannot be used; the labels are added to ``count``."""
    if not _there(pair['img_path']):
        return
    size = None
    try:
        size = read_size(dataset, pair)
    except UserError as error:
        yield str(error)
    said = pair.get('height'), pair.get('width')
    if size is not None and None not in said and said != size:
        yield f'picture {pair["img_path"]} is {size[0]}x{size[1]}, its annotations are for {said[0]}x{said[1]}.'
    path = pair.get('seg_map_path')
    if path and _there(path) and hasattr(dataset, 'reduce_zero_label'):
        yield from label_map_problems(dataset, pair, size, count)
