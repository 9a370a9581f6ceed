"""Where two models see different things in one picture."""
from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torchvision.ops import box_iou

from cait_mm.demo.predictor import Boxes

SAME_IOU = 0.5
"""Boxes of one class that overlap as much stand for the same object."""


def changed_pixels(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """The pairs of different classes (in ``first``, in ``second``) and the pixels (H, W) that have them, the most
    frequent pair first; both maps are (H, W).
    """
    pairs, counts = np.unique(np.stack([first, second], -1)[first != second], axis=0, return_counts=True)
    return [(int(one), int(other), (first == one) & (second == other)) for one, other in pairs[np.argsort(-counts)]]


def matched_boxes(first: Boxes, second: Boxes) -> list[tuple[int, int]]:
    """The pairs of boxes of one class that overlap by :data:`SAME_IOU` or more, each box in one pair at most. The boxes
    of ``first`` choose in the order of their scores.
    """
    if not len(first.labels) or not len(second.labels):
        return []
    overlap = box_iou(first.corners, second.corners)
    overlap[first.labels[:, None] != second.labels[None]] = 0
    pairs = []
    for index in first.scores.argsort(descending=True).tolist():
        best = int(overlap[index].argmax())
        if overlap[index, best] >= SAME_IOU:
            pairs.append((index, best))
            overlap[:, best] = 0
    return pairs


def total_variation(first: Tensor, second: Tensor) -> float:
    """Half the sum of absolute differences of two distributions (classes,), from 0 to 1."""
    return 0.5 * float((first - second).abs().sum())


def largest_changes(first: Tensor, second: Tensor, count: int) -> Sequence[int]:
    """The ``count`` classes that change most, and the first guess of each, the largest change first."""
    change = (first - second).abs()
    chosen = {*change.topk(min(count, len(change))).indices.tolist(), int(first.argmax()), int(second.argmax())}
    return sorted(chosen, key=lambda index: -float(change[index]))


def unpaired(boxes: Boxes, paired: Sequence[int]) -> list[int]:
    """The boxes that are not among ``paired``."""
    return sorted({*range(len(boxes.labels))} - {*paired})
