"""The contents of label maps: whether they are class ids, and which classes occur in a set of them."""
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mmcv
import numpy as np

from cait_mm.datasets.loading import GuardedBackend, GuardedLoading
from cait_mm.errors import UserError

IGNORED = 255
ENOUGH = 20
"""With this many label maps for each class, every class is expected to occur."""
_SHOWN = 8


class LabelCount:
    """Counts the label maps in which each value and each class occurs."""

    def __init__(self) -> None:
        self.maps = 0
        self.values: Counter = Counter()
        self.classes: Counter = Counter()
        self.meaning: dict[int, int] = {}

    def add(self, stored: np.ndarray, labels: np.ndarray) -> None:
        """Count a label map, given its values in the file and after loading, both (H, W)."""
        values, first = np.unique(stored, return_index=True)
        meaning = dict(zip(values.tolist(), labels.reshape(-1)[first].tolist()))
        self.maps += 1
        self.values.update(meaning)
        self.classes.update(set(meaning.values()))
        self.meaning.update(meaning)

    def judged(self, classes: Sequence[str], training: bool, complete: bool) -> tuple[list[str], list[str]]:
        """Problems and remarks about classes that do not occur.

        It is a problem if no class occurs, or one of several, because nothing can be learned. Other classes may be
        rare, which is a remark, unless all of the training data were read and there are ``ENOUGH`` label maps.
        """
        absent = [name for label, name in enumerate(classes) if not self.classes[label]]
        if not self.maps or not absent:
            return [], []
        present = [name for label, name in enumerate(classes) if self.classes[label]]
        what = f'over {self.maps} decoded label maps '
        if not present:
            what += 'no class occurs'
        else:
            one, listed = len(absent) == 1, ', '.join(absent[:_SHOWN]) + (' and more' if len(absent) > _SHOWN else '')
            what += f'{len(absent)} of {len(classes)} classes {"occurs" if one else "occur"} nowhere: {listed}'
        sentence = f'{what}. Their values are {self._described(classes)}.'
        certain = training and complete and self.maps >= ENOUGH * len(classes)
        return ([sentence], []) if len(present) < min(2, len(classes)) or certain else ([], [sentence])

    def _described(self, classes: Sequence[str]) -> str:
        parts = []
        for value in sorted(self.values)[:_SHOWN]:
            label = self.meaning[value]
            name = 'ignored' if label == IGNORED else classes[label] if label < len(classes) else 'no class'
            parts.append(f'{value} ({name})')
        return ', '.join(parts) + (f' and {len(self.values) - _SHOWN} more' if len(self.values) > _SHOWN else '')


def label_map_problems(dataset: Any, pair: Mapping[str, Any], size: tuple[int, int] | None,
                       count: LabelCount) -> Iterator[str]:
    """Sentences about a label map that cannot be used; its values are added to ``count``.

    Args:
        dataset: A dataset of MMSegmentation.
        pair: Its item, with ``seg_map_path``.
        size: Height and width of the picture, if they are known.
    """
    from mmseg.datasets.transforms import LoadAnnotations
    path = pair['seg_map_path']
    item = dict(pair, reduce_zero_label=dataset.reduce_zero_label, seg_fields=[])
    try:
        labels = GuardedLoading(LoadAnnotations(reduce_zero_label=dataset.reduce_zero_label))(item)['gt_seg_map']
    except UserError as error:
        yield str(error)
        return
    # MMSegmentation reduces values to bytes, so they are read again
    stored = mmcv.imfrombytes(GuardedBackend().get(path), flag='unchanged', backend='pillow')
    unfit = _unfit(stored)
    if unfit:
        yield f'label map {path} {unfit}.'
        return
    classes = len(dataset.metainfo.get('classes') or ())
    wrong = [int(label) for label in np.unique(labels) if label >= classes and label != IGNORED]
    if wrong:
        listed = ', '.join(map(str, wrong[:5])) + (' and more' if len(wrong) > 5 else '')
        yield f'label map {path} holds {listed}, and there are classes 0 to {classes - 1} and {IGNORED} to be ignored.'
    if size is not None and labels.shape[:2] != size:
        yield f'label map {path} is {labels.shape[0]}x{labels.shape[1]}, its picture {size[0]}x{size[1]}.'
    count.add(stored.reshape(labels.shape), labels)


def _unfit(stored: np.ndarray) -> str | None:
    """The reason why an array from a file is no map of class ids below 256, or None."""
    if stored.squeeze().ndim != 2:
        channels = stored.shape[-1]
        if channels >= 3 and (stored[..., :3] == stored[..., :1]).all():
            return f'has {channels} channels, and the first three are equal: save one of them alone'
        colours = len(np.unique(stored.reshape(-1, channels), axis=0))
        return (f'is a colour picture ({channels} channels, {colours} colours): class ids are wanted, one number a '
                'pixel; turn each colour into its class first')
    if stored.dtype.kind not in 'uib':
        return f'holds {stored.dtype} numbers: whole ones from 0 to 255 are wanted'
    if stored.size and (stored.max() > 255 or stored.min() < 0):
        return (f'holds {stored.min()} to {stored.max()}, and MMSegmentation keeps the last 8 bits of a label alone: '
                'write class ids from 0 to 255')
    return None
