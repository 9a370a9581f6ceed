"""Names of a model's classes, and how far two predictions of them are apart."""
from collections.abc import Sequence

from timm.data import ImageNetInfo
from torch import Tensor


def class_names(count: int, given: Sequence[str] | None = None) -> list[str]:
    """The names of ``count`` classes: those that are given, or ImageNet's if they are as many, or numbers."""
    if given is not None and len(given) == count:
        return [str(name) for name in given]
    if count == 1000:
        info = ImageNetInfo()
        return [info.index_to_description(index).split(',')[0] for index in range(count)]
    return [f'class {index}' for index in range(count)]


def total_variation(first: Tensor, second: Tensor) -> float:
    """Half the sum of absolute differences of two distributions (classes,), from 0 to 1."""
    return 0.5 * float((first - second).abs().sum())
