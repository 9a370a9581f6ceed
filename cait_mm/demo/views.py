"""What models see, and where they differ, as the page's components take it."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cait_mm.analysis.boxes import Boxes, matched, unpaired
from cait_mm.analysis.classes import total_variation
from cait_mm.demo.differences import changed_pixels, largest_changes
from cait_mm.demo.predictor import Predictor

LEAST_WIDTH = 480
"""Smaller pictures are enlarged by a whole factor to be looked at."""
MOST_PAIRS = 12
"""Pairs of classes that get a colour of their own where two maps differ."""
MOST_CLASSES, OPACITY = 5, 0.6

Annotated = tuple[np.ndarray, list[tuple[Any, str]]]
"""A picture, and masks (H, W) or boxes with what they are."""


def view(predictor: Predictor, picture: Image.Image, seen: Any) -> Annotated | dict[str, float]:
    """What a model sees: a picture with classes or boxes, or a classifier's probabilities by class."""
    if isinstance(seen, Tensor):
        return {f'{index} {name}' if name in predictor.classes[:index] else name: float(value)
                for index, (name, value) in enumerate(zip(predictor.classes, seen))}
    image, factor = enlarged(picture)
    if isinstance(seen, Boxes):
        return image, _boxes(seen, range(len(seen.labels)), predictor.classes, factor)
    labels, counts = np.unique(seen, return_counts=True)
    areas = [(_mask(seen == label, factor), predictor.classes[label]) for label in labels[np.argsort(-counts)]]
    return image, areas


def difference(first: Predictor, second: Predictor, picture: Image.Image, seen: Sequence[Any]
               ) -> tuple[str, Annotated | None]:
    """Where two models of one task differ: in words, as Markdown, and as a picture, which classifiers have not."""
    kind = _of_guesses if isinstance(seen[0], Tensor) else _of_boxes if isinstance(seen[0], Boxes) else _of_pixels
    return kind((first.name, second.name), first.classes, picture, *seen)


def _of_guesses(names: tuple[str, str], classes: Sequence[str], picture: Image.Image, first: Tensor, second: Tensor
                ) -> tuple[str, None]:
    same = 'the same' if int(first.argmax()) == int(second.argmax()) else '**different**'
    rows = [f'| {classes[index]} | {first[index]:.1%} | {second[index]:.1%} | {second[index] - first[index]:+.1%} |'
            for index in largest_changes(first, second, MOST_CLASSES)]
    head = [f'| | {" | ".join(names)} | change |', '| --- | --- | --- | --- |']
    moved = f'Their first guesses are {same}; {total_variation(first, second):.1%} of the probability moved.'
    return '\n'.join([moved, '', *head, *rows]), None


def _of_boxes(names: tuple[str, str], classes: Sequence[str], picture: Image.Image, first: Boxes, second: Boxes
              ) -> tuple[str, Annotated]:
    pairs, (image, factor) = matched(first, second), enlarged(picture)
    alone = [unpaired(boxes, [pair[side] for pair in pairs]) for side, boxes in enumerate((first, second))]
    told = [f'{len(some)} by {name} alone' for name, some in zip(names, alone)]
    boxes = [box for name, which, some in zip(names, (first, second), alone)
             for box in _boxes(which, some, classes, factor, f'{name} alone: ')]
    return f'{len(pairs)} boxes are found by both, {", ".join(told)}.', (image, boxes)


def _of_pixels(names: tuple[str, str], classes: Sequence[str], picture: Image.Image, first: np.ndarray,
               second: np.ndarray) -> tuple[str, Annotated]:
    pairs, (image, factor) = changed_pixels(first, second), enlarged(picture)
    areas = [(_mask(mask, factor), f'{classes[before]} => {classes[after]}')
             for before, after, mask in pairs[:MOST_PAIRS]]
    if len(pairs) > MOST_PAIRS:
        areas.append((_mask(sum(mask for *_, mask in pairs[MOST_PAIRS:]), factor), 'others'))
    return f'{np.mean(first != second):.1%} of the pixels differ ({" => ".join(names)}).', (image, areas)


def enlarged(picture: Image.Image) -> tuple[np.ndarray, int]:
    """RGB (H, W, 3) that can be looked at, and the factor by which it is larger."""
    factor = max(1, -(-LEAST_WIDTH // picture.width))
    size = picture.width * factor, picture.height * factor
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC) if factor > 1 else picture), factor


def _mask(mask: np.ndarray, factor: int) -> np.ndarray:
    return np.kron(mask, np.full((factor, factor), OPACITY, np.float32))


def _boxes(boxes: Boxes, chosen: Sequence[int], classes: Sequence[str], factor: int, before: str = ''
           ) -> list[tuple[tuple[int, ...], str]]:
    return [(tuple(int(round(factor * float(value))) for value in boxes.corners[index]),
             f'{before}{classes[int(boxes.labels[index])]}') for index in chosen]
