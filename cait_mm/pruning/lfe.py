"""Counts of tokens for LFE, from the first block to the last, without labels (after VTC-LFC, NeurIPS 2022).

Its code goes bottom-up: each block keeps the fewest tokens whose drop in accuracy, with what earlier blocks lost, is
within what is allowed so far. Here the KL from the dense model stands for that drop, every block is allowed the same
part more, and the allowance is the one that saves the target.
"""
from bisect import bisect_right
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, partial
from math import prod

import torch
from torch import Tensor

from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Classifier
from cait_mm.models.arguments import checked_whole
from cait_mm.pruning.imitate import device_of, kl
from cait_mm.tokens import LFE

ALLOWANCES = (1e-4, 10.)
"""The KL in nats between which the allowance lies."""
HALVINGS = 8
"""Of the allowance, by its logarithm."""

Kept = tuple[int, ...]


@torch.no_grad()
def search_counts(model: Classifier, batches: Sequence[Tensor], target: float, granularity: int = 8,
                  progress: Callable[[float, float], None] | None = None, **settings: object) -> LFE:
    """The counts with which LFE saves ``target`` of a classifier's MACs.

    Some dozens of images are enough; the model sees them some hundred times.

    Args:
        model: Dense, with trained weights; it stays as it is.
        batches: Images (B, C, H, W) of one size, normalised as in training.
        target: The share of the dense MACs to save, between 0 and 1.
        granularity: Tokens between two candidates.
        progress: Called after every allowance with it and the share that its counts save.
        settings: More of :class:`~cait_mm.tokens.lfe.LFE`.

    Raises:
        UserError: The model reduces tokens already, or cannot drop any, or the target is out of reach.
    """
    checked_whole('granularity', granularity, 1)
    spec, size = model.spec, tuple(batches[0].shape[-2:])
    patches, student, device = prod(spec.arch.grid(size)), deepcopy(model).eval(), device_of(model)
    if spec.merges or spec.tokens:
        raise UserError(f'`model`: this {spec.arch.name} reduces tokens already, give one that does not.')
    tokens = partial(LFE, of=patches, **settings)

    def saved(kept: Kept) -> float:
        return reduction(spec.replace(tokens=tokens(kept)), size)

    batches = [batch.to(device) for batch in batches]
    wanted = [student(batch) for batch in batches]

    @cache
    def damage(kept: Kept) -> float:
        student.backbone.spec = spec.replace(tokens=tokens(kept))
        losses = [float(kl(student(batch), logits)) * len(batch) for batch, logits in zip(batches, wanted)]
        return sum(losses) / sum(map(len, batches))

    counts = [*range(patches, 1, -granularity), 1]
    if saved((1,) * spec.arch.depth) < target:
        raise UserError(f'`target`={target}: one token in every block saves less.')
    low, high = ALLOWANCES
    found = (1,) * spec.arch.depth
    for _ in range(HALVINGS):
        allowance = (low * high) ** 0.5
        kept = bottom_up(damage, counts, spec.arch.depth, allowance)
        if progress is not None:
            progress(allowance, saved(kept))
        if saved(kept) < target:
            low = allowance
        else:
            high, found = allowance, kept
    more = (tuple(min(count + by, patches) for count in found) for by in range(patches, -1, -1))
    return tokens(next(kept for kept in more if saved(kept) >= target))


def bottom_up(damage: Callable[[Kept], float], counts: Sequence[int], depth: int, allowance: float) -> Kept:
    """From the first of ``depth`` blocks on the fewest tokens, of descending ``counts``, whose ``damage`` is within the
    block's part of ``allowance``; blocks behind it keep all they get. Damage is taken to grow as counts fall.
    """
    kept: Kept = ()
    for block in range(depth):
        possible = [count for count in counts if not kept or count <= kept[-1]]
        within = bisect_right(possible, allowance * (block + 1) / depth, key=lambda count: damage(
            (*kept, *[count] * (depth - block))))
        kept = (*kept, possible[max(0, within - 1)])
    return kept
