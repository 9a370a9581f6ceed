"""How sure the numbers of a report are: intervals of 95 %."""
import math
from collections.abc import Sequence

import numpy as np

Z = 1.96
"""Standard errors on each side of a normal interval of 95 %."""
DRAWS = 1000


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a share, ``hits`` of ``count`` independent cases."""
    centre, spread = hits / count + Z**2 / (2 * count), Z * math.sqrt(
        hits * (count - hits) / count**3 + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0., (centre - spread) / scale), min(1., (centre + spread) / scale)


def paired_change(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float, float]:
    """The change of a share from ``before`` to ``after`` on the same cases, and its interval.

    The normal interval of the mean of the differences -1, 0, 1.
    """
    change = np.asarray(after, float) - np.asarray(before, float)
    error = Z * change.std(ddof=1) / math.sqrt(len(change)) if len(change) > 1 else math.inf
    return float(change.mean()), float(change.mean() - error), float(change.mean() + error)


def confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes): how many pixels of each class of ``truth`` were found as each class; labels outside of the
    classes are left out.
    """
    valid = (truth >= 0) & (truth < classes) & (found >= 0) & (found < classes)
    cells = classes * truth[valid].astype(np.int64) + found[valid]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def ious(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of every class of a confusion matrix (..., C, C); NaN where a class does not occur."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(float)
    union = matrix.sum(-1) + matrix.sum(-2) - hits
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """The mean over the classes that occur."""
    return np.nanmean(ious(matrix), axis=-1)


def change_of_miou(before: np.ndarray, after: np.ndarray, seed: int = 0) -> tuple[float, float] | None:
    """The bootstrap's interval of the change of the mean IoU, over images.

    Args:
        before, after: (images, C, C), confusion matrices of the same images.
        seed: Of the draws.

    Returns:
        Percentiles 2.5 and 97.5 of :data:`DRAWS` draws; None for fewer than five images.
    """
    if len(before) < 5:
        return None
    chance, changes = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        drawn = chance.integers(len(before), size=len(before))
        changes.append(mean_iou(after[drawn].sum(0)) - mean_iou(before[drawn].sum(0)))
    low, high = np.percentile(changes, [2.5, 97.5])
    return float(low), float(high)
