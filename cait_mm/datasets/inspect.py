"""Look into a config's data before hours of training: broken pictures, labels without pictures, ids out of range.

The datasets are the libraries' own, built without a pipeline, so that what is looked at is what training would read.
"""
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

import numpy as np
from mmengine.config import Config

from cait_mm.datasets.build import build_dataset, untransformed
from cait_mm.datasets.check import datasets_of
from cait_mm.datasets.images import ImageFolder, spread
from cait_mm.datasets.loading import GuardedLoading, read_size
from cait_mm.datasets.subjects import shared_subjects, subjects_of
from cait_mm.errors import UserError

IGNORED = 255


def inspect_data(config: Config, loaders: Sequence[str], samples: Optional[int] = 50) -> Dict[str, Dict[str, Any]]:
    """What is wrong with the data of ``loaders``, whose folders and annotation files are all there.

    Names are compared over whole datasets; pictures and label maps are decoded, ``samples`` of them spread evenly over
    a dataset (all where it is None).

    Returns:
        By loader: ``items``, how many there are, ``decoded``, and ``problems``, one sentence each. A patient of
        training who is in another loader too is a problem of that one.
    """
    found, subjects = {}, {}
    for loader in loaders:
        items, decoded, problems = 0, 0, []
        nodes = [node for node in datasets_of(config[loader].dataset) if 'type' in node]
        for node in nodes:
            try:
                dataset = build_dataset(untransformed(node), config)
                pairs = _pairs(dataset)
            except UserError as error:
                problems.append(str(error))
                continue
            chosen = pairs if samples is None else spread(pairs, samples)
            problems += [*_unpaired(dataset, pairs), *_inconsistent(dataset)]
            problems += [problem for pair in chosen for problem in _undecodable(dataset, pair)]
            items, decoded = items + len(pairs), decoded + len(chosen)
            subjects.setdefault(loader, set()).update(subjects_of(dataset))
        if nodes:
            found[loader] = {'items': items, 'decoded': decoded, 'problems': problems}
    for loader in set(subjects) - {'train_dataloader'}:
        found[loader]['problems'] += shared_subjects(subjects.get('train_dataloader', set()), subjects[loader])
    return found


def _pairs(dataset: Any) -> List[Dict[str, Any]]:
    """``img_path`` of every item, and ``seg_map_path`` where it has one."""
    if isinstance(dataset, ImageFolder):
        return [dict(img_path=path) for path, _ in dataset.samples]
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def _unpaired(dataset: Any, pairs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Pictures that an annotation names and that are not there, and labels or pictures without the other."""
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
    """An address of a slice or picture of ours is there: its dataset has listed the files."""
    return '://' in path or os.path.exists(path)


def _inconsistent(dataset: Any) -> Iterator[str]:
    """Of a COCO file: classes that it lacks, annotations of pictures or categories that it does not list."""
    path = getattr(dataset, 'ann_file', '')
    if not hasattr(dataset, 'COCOAPI') or not str(path).endswith('.json'):
        return
    content = json.loads(Path(path).read_text())
    lacking = set(dataset.metainfo['classes']) - {item['name'] for item in content.get('categories', ())}
    if lacking:
        yield f'annotation file {path} lacks the categories {", ".join(sorted(lacking))}.'
    for what, key, listed in (('picture', 'image_id', 'images'), ('category', 'category_id', 'categories')):
        known = {item['id'] for item in content.get(listed, ())}
        wrong = [item for item in content.get('annotations', ()) if item.get(key) not in known]
        if wrong:
            yield (f'annotation file {path} has {len(wrong)} annotations of a {what} that it does not list: '
                   f'{key} {wrong[0].get(key)} is one.')


def _undecodable(dataset: Any, pair: Mapping[str, Any]) -> Iterator[str]:
    """Why a picture or its label map cannot be used."""
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
    if not path or not _there(path) or not hasattr(dataset, 'reduce_zero_label'):
        return
    from mmseg.datasets.transforms import LoadAnnotations
    item = dict(pair, reduce_zero_label=dataset.reduce_zero_label, seg_fields=[])
    try:
        labels = GuardedLoading(LoadAnnotations(reduce_zero_label=dataset.reduce_zero_label))(item)['gt_seg_map']
    except UserError as error:
        yield str(error)
        return
    classes = len(dataset.metainfo['classes'])
    wrong = [int(label) for label in np.unique(labels) if label >= classes and label != IGNORED]
    if wrong:
        listed = ', '.join(map(str, wrong[:5])) + (' and more' if len(wrong) > 5 else '')
        yield f'label map {path} holds {listed}, and there are classes 0 to {classes - 1} and {IGNORED} to be ignored.'
    if size is not None and labels.shape[:2] != size:
        yield f'label map {path} is {labels.shape[0]}x{labels.shape[1]}, its picture {size[0]}x{size[1]}.'
