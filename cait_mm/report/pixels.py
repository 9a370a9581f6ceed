"""The predictions of two segmentors beside each other."""
import colorsys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cait_mm.compression.images import picture_at
from cait_mm.report.encoding import jpeg, label_png
from cait_mm.report.statistics import change_of_miou, confusion, ious, mean_iou


@torch.no_grad()
def compare(dense: nn.Module, small: nn.Module, inputs: Iterable[Any], names: Sequence[str],
            palette: Sequence[Sequence[int]] | None, shown: int) -> dict[str, Any]:
    """Both models' maps of classes for ``inputs`` of ``test_step``, those that differ at most pixels first, and how
    good they are, by class.
    """
    colours = palette if palette and len(palette) >= len(names) else spread_colours(len(names))
    pictures, matrices = [], []
    for data in inputs:
        first, second = (_labels(model.test_step(data)[0].pred_sem_seg) for model in (dense, small))
        sample = data['data_samples'][0]
        truth = _labels(sample.gt_sem_seg) if 'gt_sem_seg' in sample else None
        matrices.append(matrices_of(first, second, truth, len(names)))
        pictures.append((float((first != second).mean()), sample.img_path, first, second, truth))
        pictures = sorted(pictures, key=lambda item: -item[0])[:shown]
    told = quality(matrices, names)
    there = {row['name'] for row in told['classes']}
    return {**told, 'pictures': [_entry(*picture, colours) for picture in pictures], 'looked_at': len(matrices),
            'legend': [[name, f'#{bytes(map(int, colour)).hex()}'] for name, colour in zip(names, colours)
                       if name in there]}


def matrices_of(first: np.ndarray, second: np.ndarray, truth: np.ndarray | None,
                classes: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Confusion matrices of an image: of the compressed model ``second`` with the dense one ``first``, and of both with
    the truth, if that is known.
    """
    known = (None, None) if truth is None else tuple(confusion(truth, found, classes) for found in (first, second))
    return confusion(first, second, classes), *known


def quality(matrices: Sequence[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]],
            names: Sequence[str]) -> dict[str, Any]:
    """How much of the images both models see alike, and where the truth is known the IoU of both, by class."""
    both, count = sum(one[0] for one in matrices), len(matrices)
    rows = [{'what': 'pixels with the same class as the dense model\'s', 'unit': '%',
             'small': 100 * float(np.trace(both) / both.sum()), 'on': f'{count} pictures'}]
    known = [one for one in matrices if one[1] is not None and one[1].sum()]
    if not known:
        return {'quality': rows, 'classes': by_class(names, ious(both)), 'classes_against': 'the dense model\'s map'}
    before, after = (np.stack([one[index] for one in known]) for index in (1, 2))
    first, second = (100 * float(mean_iou(matrix.sum(0))) for matrix in (before, after))
    interval = change_of_miou(before, after)
    rows.insert(0, {'what': 'mIoU', 'unit': '%', 'dense': first, 'small': second, 'change': second - first,
                    'interval_of_change': interval and [100 * end for end in interval],
                    'on': f'{len(known)} labelled pictures'})
    return {'quality': rows, 'classes': by_class(names, ious(after.sum(0)), ious(before.sum(0))),
            'classes_against': 'the labels'}


def by_class(names: Sequence[str], small: np.ndarray, dense: np.ndarray | None = None) -> list[dict[str, Any]]:
    """The IoU of every class that occurs, in percent, the greatest loss first."""
    rows = [{'name': name, 'small': 100 * float(small[index]),
             'dense': None if dense is None else 100 * float(dense[index])}
            for index, name in enumerate(names)
            if np.isfinite(small[index]) and (dense is None or np.isfinite(dense[index]))]
    return sorted(rows, key=lambda row: row['small'] - (row['dense'] or 0))


def spread_colours(count: int) -> list[tuple[int, int, int]]:
    """Colours that differ in their hue, and by turns in their brightness."""
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(index * 0.618 % 1, 0.75, (1., 0.7)[index % 2]))
            for index in range(count)]


def _labels(field: Any) -> np.ndarray:
    return field.data[0].cpu().numpy()


def _entry(apart: float, path: str, first: np.ndarray, second: np.ndarray, truth: np.ndarray | None,
           colours: Sequence[Sequence[int]]) -> dict[str, Any]:
    picture = picture_at(path)
    entry = {'name': Path(path).name, 'difference': apart, **jpeg(picture),
             'dense': label_png(first, colours), 'small': label_png(second, colours),
             'apart': label_png(np.where(first != second, 0, 255), [(255, 0, 80)])}
    return entry if truth is None else {**entry, 'truth': label_png(truth, colours)}
