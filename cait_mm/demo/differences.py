"""Where two models see different things in one picture."""
from collections.abc import Sequence

import numpy as np
from torch import Tensor


def changed_pixels(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """The pairs of different classes (in ``first``, in ``second``) and the pixels (H, W) that have them, the most
    frequent pair first; both maps are (H, W).
    """
    pairs, counts = np.unique(np.stack([first, second], -1)[first != second], axis=0, return_counts=True)
    return [(int(one), int(other), (first == one) & (second == other)) for one, other in pairs[np.argsort(-counts)]]


def largest_changes(first: Tensor, second: Tensor, count: int) -> Sequence[int]:
    """The ``count`` classes that change most, and the first guess of each, the largest change first."""
    change = (first - second).abs()
    chosen = {*change.topk(min(count, len(change))).indices.tolist(), int(first.argmax()), int(second.argmax())}
    return sorted(chosen, key=lambda index: -float(change[index]))
