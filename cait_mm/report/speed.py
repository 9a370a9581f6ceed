"""How fast two models are beside each other, and which of their parts the time goes to."""
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.models.base import Backbone, backbone_inside
from cait_mm.ops.token_merge import TokenMerge
from cait_mm.tasks import task_of
from cait_mm.utils.speed import Timing, conditions, time_interleaved

SECONDS = 12.
"""About as long as the timing of a report takes; slow models are timed over fewer rounds."""
ROUNDS = 15
LEAST_ROUNDS = 5
STEM, ATTENTION, FFN, MERGES, BODY, NECK, HEAD = (
    'stem', 'attention', 'FFN', 'merges', 'rest of the backbone', 'neck', 'head')
KINDS = (STEM, ATTENTION, FFN, MERGES, BODY, NECK, HEAD)
METHODS = ('forward', 'forward_tokens', 'project', 'attend')
"""Ways into parts of a model."""


def compare(dense: nn.Module, small: nn.Module, images: Tensor, seconds: float = SECONDS) -> dict[str, Any]:
    """Time whole predictions of both on ``images`` (B, C, H, W), in turn."""
    calls = calls_of(dense, small, images)
    rounds = rounds_for(calls, seconds)
    return described(time_interleaved(calls, rounds), tuple(images.shape))


def described(timings: Mapping[str, Timing], shape: tuple[int, ...]) -> dict[str, Any]:
    """Timings of ``dense`` and ``small`` in plain types, and their ratio: of the medians, with the quartiles of the
    ratio over the rounds, in each of which both were timed.
    """
    dense, small = timings['dense'], timings['small']
    ratios = Timing([one / other for one, other in zip(dense.seconds, small.seconds)])
    return {**{name: {'seconds': timing.median, 'quartiles': list(timing.quartiles)}
               for name, timing in timings.items()},
            'ratio': dense.median / small.median, 'ratio_quartiles': list(ratios.quartiles),
            'rounds': len(dense.seconds), 'batch_size': shape[0], 'shape': list(shape[-2:]),
            'noisy': dense.noisy or small.noisy, 'conditions': conditions()}


def spent(dense: nn.Module, small: nn.Module, images: Tensor, seconds: float = SECONDS / 2) -> dict[str, Any]:
    """The seconds that a prediction spends in each of :data:`KINDS`: medians over rounds that take turns."""
    calls, found = calls_of(dense, small, images), {'dense': [], 'small': []}
    rounds = rounds_for(calls, seconds)
    with torch.inference_mode():
        for _ in range(rounds):
            for name, model in (('dense', dense), ('small', small)):
                with stopwatch(model) as watch:
                    start = time.perf_counter()
                    calls[name]()
                    found[name].append(split(watch, time.perf_counter() - start))
    return {name: {kind: median(one[kind] for one in taken) for kind in KINDS if any(one[kind] for one in taken)}
            for name, taken in found.items()}


def split(watch: Mapping[str, float], whole: float) -> dict[str, float]:
    """The seconds of each of :data:`KINDS`, which sum to ``whole``: what a backbone spends outside of its parts, and
    what a model spends outside of backbone and neck, its head.
    """
    inside = {kind: watch.get(kind, 0.) for kind in (STEM, ATTENTION, FFN, MERGES)}
    body, neck = watch.get(BODY, 0.), watch.get(NECK, 0.)
    return {**inside, BODY: max(0., body - sum(inside.values())), NECK: neck, HEAD: max(0., whole - body - neck)}


def calls_of(dense: nn.Module, small: nn.Module, images: Tensor) -> dict[str, Callable[[], Any]]:
    """Whole predictions on ``images``, by ``dense`` and ``small``."""
    tasks = {'dense': task_of(dense), 'small': task_of(small)}
    return {name: lambda task=task: task.predict(images) for name, task in tasks.items()}


def rounds_for(calls: Mapping[str, Callable[[], Any]], seconds: float) -> int:
    """As many rounds of ``calls`` as fit into ``seconds``, within limits; each is called once for it."""
    start = time.perf_counter()
    with torch.inference_mode():
        for call in calls.values():
            call()
    return max(LEAST_ROUNDS, min(ROUNDS, int(seconds / (time.perf_counter() - start))))


@contextmanager
def stopwatch(model: nn.Module) -> Iterator[dict[str, float]]:
    """A context that gives the seconds spent in a model's parts, by their kind, while it is open."""
    watch: dict[str, float] = {}
    backbone = backbone_inside(model)
    parts = [*parts_inside(backbone), (backbone, BODY)]
    if isinstance(getattr(model, 'neck', None), nn.Module):
        parts.append((model.neck, NECK))
    replaced, open_kinds = [], set()
    for module, kind in parts:
        for name in METHODS:
            if hasattr(module, name):
                setattr(module, name, _timed(getattr(module, name), kind, watch, open_kinds))
                replaced.append((module, name))
    try:
        yield watch
    finally:
        for module, name in replaced:
            delattr(module, name)


def parts_inside(backbone: Backbone) -> Iterator[tuple[nn.Module, str]]:
    """The parts of a backbone that are timed, and their kind."""
    yield backbone.patch_embed, STEM
    for block in backbone.flat_blocks():
        yield block.attn, ATTENTION
        yield block.mlp, FFN
    yield from ((module, MERGES) for module in backbone.modules() if isinstance(module, TokenMerge))


def _timed(method: Callable, kind: str, watch: dict[str, float], open_kinds: set[str]) -> Callable:
    """``method``, whose seconds are added to ``watch``, unless it runs inside another part of its kind."""

    @wraps(method)
    def timed(*words: Any, **named: Any) -> Any:
        if kind in open_kinds:
            return method(*words, **named)
        open_kinds.add(kind)
        start = time.perf_counter()
        try:
            return method(*words, **named)
        finally:
            watch[kind] = watch.get(kind, 0.) + time.perf_counter() - start
            open_kinds.discard(kind)

    return timed
