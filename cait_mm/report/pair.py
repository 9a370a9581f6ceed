"""A dense model beside its compressed self, with all that a report needs to compare them."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from cait_mm.report.classes import Case


@dataclass(frozen=True)
class Pair:
    """Two models of one task, in eval mode on the CPU.

    Args:
        name: What the page calls them.
        dense: The dense model.
        small: The compressed one.
        size: Pixels (H, W) of the images that are counted and timed.
        trained: Whether ``dense`` has its weights; if not it is only counted and timed.
        names: Of the classes.
        cases: Images of classifiers.
        inputs: Of ``test_step`` of segmentors and detectors.
        palette: Colours of a segmentor's classes.
        shown: A picture of exactly ``size``, and the same as the models take it, (1, C, H, W).
        counts: MACs and parameters that are known already, as
            :attr:`~cait_mm.compression.model.Compressed.counts`.
        weights: The file of the compressed model's weights.
        measured: What is known already, in the form of the page's data: ``speed``, ``quality``, ``run``.
        facts: What the numbers rest on: rows (name, value) by heading.
        texts: The same as texts by heading.
    """

    name: str
    dense: nn.Module
    small: nn.Module
    size: tuple[int, int]
    trained: bool = True
    names: Sequence[str] = ()
    cases: Sequence[Case] = ()
    inputs: Sequence[Any] = ()
    palette: Sequence[Sequence[int]] | None = None
    shown: tuple[Image.Image, Tensor] | None = None
    counts: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None
    weights: str | Path | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Sequence[tuple[str, Any]]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
