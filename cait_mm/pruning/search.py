"""Where to merge for a target, by the damage: placements near the planner's are compressed and judged one by one.

The planner (:mod:`~cait_mm.pruning.plan`) knows MACs alone. Here a placement's damage is the distance of the model that
it gives from the dense one, on images without labels. The planner's placement comes first; then neighbours of the best
one so far: a merge one block away, horizontal and vertical exchanged, a merge more or fewer, two merges as a symmetric
one. Fewer or later merges leave more of the target to cutting channels: this shares it out too. Another placement than
the planner's is taken only where it is surely better.
"""
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.errors import UserError
from cait_mm.models.base import backbone_inside
from cait_mm.pruning.imitate import device_of, kl_of_all, logits_of, maps_error
from cait_mm.pruning.plan import TOLERANCE
from cait_mm.spec import Merge, Spec, make_spec
from cait_mm.tokens.atme import ALTERNATING

OTHER = dict(zip(ALTERNATING, reversed(ALTERNATING)))
LEAST_JUDGED = 8
"""Where fewer images could be held out, all of them calibrate and judge."""
LEAST_MERGING = 0.5
"""Of the MACs that are saved; where cuts save more, what they cost depends on the calibration images."""
SURE = 2.
"""Standard errors of the gain over the planner's placement: the best of many on some dozens of images is often luck."""


@dataclass(frozen=True)
class Candidate:
    """A placement that was judged.

    Args:
        merges: Where it merges.
        merging: The share of the MACs that the merges alone save.
        reduction: The share that its model saves, the zeros that pad widths counted.
        damage: The distance of its model from the dense one (:func:`damages`), as the mean over images.
        gain, gain_error: By how much that is less than the planner's, and the standard error of this mean over images.
        number: When it was judged; 1 is the planner's.
    """

    merges: tuple[Merge, ...]
    merging: float
    reduction: float
    damage: float
    gain: float
    gain_error: float
    number: int

    def to_dict(self) -> dict[str, Any]:
        """Plain types."""
        return {**vars(self), 'merges': [list(merge) for merge in self.merges]}


@dataclass(frozen=True)
class Looked:
    """Where a search is: the candidates so far, the last one at the end, and seconds left, estimated from these."""

    candidates: Sequence[Candidate]
    count: int
    seconds_left: float


def search(rule: Spec, judge: Callable[[Spec], tuple[float, Tensor]], count: int, target: float,
           saved: Callable[[Spec], float], built: int,
           progress: Callable[[Looked], None] | None = None) -> list[Candidate]:
    """Judge ``count`` placements of merges, or all that lie near where these are fewer.

    Args:
        rule: Full widths with the planner's merges. It is judged first.
        judge: Gives the share of the MACs that the model of a placement saves, and its damage to every image (n,).
            Placements whose model it refuses (UserError) are left out.
        count: How many.
        target: The share that every model has to save.
        saved: The share that a spec saves.
        built: How many blocks are built.
        progress: Called after every candidate.

    Returns:
        The candidates, the least damage first; of equal ones the first that was judged.
    """
    begun, judged, seen, waiting, planners = time.monotonic(), [], {rule.merges}, {}, {}

    def look(spec: Spec) -> None:
        reduction, damage = judge(spec)
        planners.setdefault('damage', damage)
        gain = planners['damage'] - damage
        error = float(gain.std(correction=0)) / len(gain)**0.5
        judged.append(Candidate(spec.merges, saved(spec), reduction, float(damage.mean()), float(gain.mean()), error,
                                len(judged) + 1))
        waiting[judged[-1]] = neighbours(spec, built)
        if progress is not None:
            pace = (time.monotonic() - begun) / len(judged)
            progress(Looked(judged, count, pace * (count - len(judged))))

    look(rule)
    while len(judged) < count and waiting:
        best = min(waiting, key=lambda candidate: candidate.damage)
        spec = next(waiting[best], None)
        if spec is None:
            del waiting[best]
        elif spec.merges not in seen and LEAST_MERGING * target <= saved(spec) <= target + TOLERANCE:
            seen.add(spec.merges)
            with suppress(UserError):
                look(spec)
    return sorted(judged, key=lambda candidate: candidate.damage)


def chosen(ranked: Sequence[Candidate]) -> Candidate:
    """The best of ranked candidates that is surely ahead of the planner's (:data:`SURE`), or the planner's."""
    return next(one for one in ranked if one.number == 1 or one.gain > SURE * one.gain_error)


def neighbours(spec: Spec, built: int) -> Iterator[Spec]:
    """The placements that differ from ``spec`` by one change, the smaller changes first.

    Args:
        spec: Full widths with merges.
        built: Merges stand before the first so many blocks.
    """
    placed = [(block, merge.kind) for block, merge in spec.placed.items()]
    free = [block for block in spec.arch.merge_blocks if block < built and block not in spec.placed]
    for changed in _changes(placed, free):
        with suppress(UserError):  # too many merges for the grid
            yield make_spec(spec.arch, [Merge(spec.arch.block_name(block), kind) for block, kind in sorted(changed)])


def _changes(placed: list[tuple[int, str]], free: Sequence[int]) -> Iterator[list[tuple[int, str]]]:
    """Pairs of a block and a kind with one change; ``free`` are the blocks without a merge."""
    for place, (block, kind) in enumerate(placed):
        yield from ([*placed[:place], (moved, kind), *placed[place + 1:]]
                    for moved in (block + 1, block - 1) if moved in free)
    yield [(block, OTHER.get(kind, kind)) for block, kind in placed]
    first = placed[0][1] if placed and placed[0][1] in OTHER else ALTERNATING[0]
    for block in reversed(free):
        blocks = sorted([block, *(block for block, _ in placed)])
        yield [(each, (first, OTHER[first])[place % 2]) for place, each in enumerate(blocks)]
    for place in range(len(placed)):
        yield [*placed[:place], *placed[place + 1:]]
    for place, ((block, kind), (after, other)) in enumerate(zip(placed, placed[1:])):
        if OTHER.get(kind) == other:
            yield from ([*placed[:place], (one, 'symmetric'), *placed[place + 2:]] for one in (block, after))


def hold_out(batches: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Every second image to calibrate on, and the others to judge on; all to both where they are too few.

    Args:
        batches: Images (B, C, H, W).
    """
    batches, parts, begun = list(batches), ([], []), 0
    if sum(map(len, batches)) < 2 * LEAST_JUDGED:
        return batches, batches
    for batch in batches:
        for part, first in zip(parts, (begun % 2, 1 - begun % 2)):
            part += [batch[first::2]] if len(batch) > first else []
        begun += len(batch)
    return parts


@torch.no_grad()
def maps_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The maps of the backbone in a model for images (B, C, H, W)."""
    return list(backbone_inside(model)(images.to(device_of(model))))


MEASURES = {'KL': (logits_of, kl_of_all), 'error of maps': (maps_of, maps_error)}
"""How a model answers images, and the distance of two answers: a KL in nats, or a share of the maps' variance."""


def measure_of(model: nn.Module, images: Tensor) -> str:
    """The name of the measure for a model: the KL where its call gives logits for images (B, C, H, W)."""
    try:
        logits_of(model, images)
    except UserError:
        return 'error of maps'
    return 'KL'


def damages(model: nn.Module, batches: Sequence[Tensor], wanted: Sequence[list[Tensor]], measure: str) -> Tensor:
    """How far a compressed model is from the dense one on every image, (n,).

    Args:
        model: The compressed one.
        batches: Images (B, C, H, W).
        wanted: The dense model's answers to each batch.
        measure: One of :data:`MEASURES`.
    """
    answer, distance = MEASURES[measure]
    return torch.stack([distance(*([part[place:place + 1] for part in parts] for parts in (own, dense)))
                        for own, dense in zip((answer(model, batch) for batch in batches), wanted)
                        for place in range(len(own[0]))]).cpu()
