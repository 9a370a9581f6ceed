"""Boxes that two detectors see in one picture, and which of them are the same object."""
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor
from torchvision.ops import box_iou

LEAST_SCORE = 0.3
"""Boxes below it are left out."""
LEAST_IOU = 0.5
"""Boxes of one class that overlap as much stand for the same object."""


class Boxes(NamedTuple):
    """The objects of a picture: corners (N, 4) as x1, y1, x2, y2 in its pixels, scores (N,) and classes (N,)."""

    corners: Tensor
    scores: Tensor
    labels: Tensor


def sure_boxes(instances: Any) -> Boxes:
    """The boxes of MMDetection's ``pred_instances`` with a score of :data:`LEAST_SCORE` or more, on the CPU."""
    stay = instances.scores >= LEAST_SCORE
    return Boxes(instances.bboxes[stay].cpu().float(), instances.scores[stay].cpu().float(),
                 instances.labels[stay].cpu())


def matched(before: Boxes, after: Boxes, least: float = LEAST_IOU) -> list[tuple[int, int]]:
    """Pairs of boxes of one class that overlap by ``least`` or more, each box in one pair at most: the surest box of
    ``before`` takes the one that overlaps most first.
    """
    if not len(before.labels) or not len(after.labels):
        return []
    overlap = box_iou(before.corners, after.corners)
    overlap[before.labels[:, None] != after.labels[None]] = 0
    pairs = []
    for index in before.scores.argsort(descending=True).tolist():
        best = int(overlap[index].argmax())
        if overlap[index, best] >= least:
            pairs.append((index, best))
            overlap[:, best] = 0
    return pairs


def unpaired(boxes: Boxes, paired: Iterable[int]) -> list[int]:
    """The boxes that are not among ``paired``."""
    return sorted({*range(len(boxes.labels))} - {*paired})
