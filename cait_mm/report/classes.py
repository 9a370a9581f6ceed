"""The predictions of two classifiers beside each other."""
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.data import ImageNetInfo
from torch import Tensor, nn

from cait_mm.analysis.classes import total_variation
from cait_mm.report.encoding import jpeg, picture_of
from cait_mm.report.statistics import paired_change, wilson

TOP = 5
_WNID = re.compile(r'n\d{8}')


class Case(NamedTuple):
    """An image (C, H, W), normalised, its name, and the number of its class if that is known."""

    name: str
    image: Tensor
    label: int | None = None


def label_of(path: str | Path, count: int, given: Sequence[str] | None = None) -> int | None:
    """The class of a file, if its folder is called like one of the classes, or if it or its folder is called by its
    number in WordNet and the classes are ImageNet's.
    """
    path = Path(path)
    if given and path.parent.name in given:
        return list(given).index(path.parent.name)
    if count != 1000 or given:
        return None
    found = next((match[0] for name in (path.name, path.parent.name) if (match := _WNID.match(name))), None)
    return wordnet_numbers().get(found)


@cache
def wordnet_numbers() -> dict[str, int]:
    """ImageNet's classes by their numbers in WordNet."""
    info = ImageNetInfo()
    return {info.index_to_label_name(index): index for index in range(info.num_classes())}


@torch.no_grad()
def compare(dense: nn.Module, small: nn.Module, cases: Iterable[Case], names: Sequence[str],
            shown: int) -> dict[str, Any]:
    """Both models' predictions of ``cases``, those that differ most first, and how good they are.

    Two predictions differ by the total variation distance of their probabilities, from 0 to 1.
    """
    rows, pictures = [], []
    for case in cases:
        before, after = (model(case.image[None]).float().softmax(-1)[0] for model in (dense, small))
        apart = total_variation(before, after)
        rows.append((case, int(before.argmax()), int(after.argmax()), apart))
        pictures.append((apart, case, before, after))
    pictures.sort(key=lambda item: -item[0])
    return {**quality([(first, second, case.label) for case, first, second, _ in rows]),
            'pictures': [_entry(*picture, names) for picture in pictures[:shown]], 'looked_at': len(rows)}


def quality(guesses: Sequence[tuple[int, int, int | None]]) -> dict[str, Any]:
    """How often both guess the same, and how often each is right where the class is known.

    Args:
        guesses: For every image the dense model's guess, the compressed one's, and its class or None.
    """
    same, count = sum(first == second for first, second, _ in guesses), len(guesses)
    rows = [{'what': 'the same first guess as the dense model', 'unit': '%', 'small': 100 * same / count,
             'interval': [100 * end for end in wilson(same, count)], 'on': f'{count} images'}]
    known = [guess for guess in guesses if guess[2] is not None]
    if known:
        before, after = ([guess[index] == guess[2] for guess in known] for index in (0, 1))
        change, *interval = paired_change(before, after)
        rows.insert(0, {'what': 'top-1', 'unit': '%', 'dense': 100 * sum(before) / len(known),
                        'small': 100 * sum(after) / len(known), 'change': 100 * change,
                        'interval_of_change': [100 * end for end in interval] if len(known) > 1 else None,
                        'on': f'{len(known)} labelled images'})
    return {'quality': rows}


def _entry(apart: float, case: Case, before: Tensor, after: Tensor, names: Sequence[str]) -> dict[str, Any]:
    changed = before.argmax() != after.argmax()
    truth = None if case.label is None else names[case.label]
    return {'name': case.name, 'difference': apart, 'changed': bool(changed), 'truth': truth,
            **jpeg(picture_of(case.image)), 'dense': _top(before, names), 'small': _top(after, names)}


def _top(probabilities: Tensor, names: Sequence[str]) -> list[list[Any]]:
    values, classes = probabilities.topk(min(TOP, len(probabilities)))
    return [[names[index], float(value)] for index, value in zip(classes.tolist(), values)]


def names_in(provenance: Mapping[str, Any]) -> list[str] | None:
    """The names of classes in the provenance of a classifier, if it has them."""
    classes = (provenance.get('classes') or {})
    names = classes.get('classes') if isinstance(classes, Mapping) else None
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else None
