"""DiffRate's counts of tokens, learned under a budget of MACs with frozen weights (Chen et al., ICCV 2023, section 3).

Every block has a softmax over candidates for the tokens that dropping leaves, and one for merging. Their expectation,
rounded up, is the count. While counts are learned no token really goes: those behind a count are masked in attention,
and the mask has the gradient of the probability that a token stays. MACs have that of the counts. Both pass straight
through rounding, as in the authors' code.
"""
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost, reduction
from cait_mm.models import Classifier
from cait_mm.ops.token_merge import Grid
from cait_mm.pruning.imitate import device_of
from cait_mm.spec import Spec
from cait_mm.tokens import BlockTokens, DiffRate, Looked, TokenReducer, Tokens, Weigh
from cait_mm.tokens.diffrate import join
from cait_mm.tokens.dropping import cls_row_cost
from cait_mm.tokens.dynamicvit import masked_softmax
from cait_mm.tokens.record import take, wide
from cait_mm.utils.draws import order

Batch = Tensor | tuple[Tensor, Tensor]
"""Normalised images (B, C, H, W), alone or with their labels (B)."""


class Count(nn.Module):
    """A count of the first of ``patches`` tokens, learned as a softmax over every ``granularity``-th number."""

    def __init__(self, patches: int, granularity: int) -> None:
        super().__init__()
        self.register_buffer('candidates', torch.arange(patches, 0, -granularity).float())
        self.scores = nn.Parameter(torch.zeros(len(self.candidates)))

    def forward(self) -> Tensor:
        """The expected count, rounded up, with the gradient of the expectation."""
        expected = (self.scores.softmax(0) * self.candidates).sum()
        return expected + (expected.ceil() - expected).detach()

    def mask(self, left: int, before: int, patches: int) -> Tensor:
        """(patches): 0 where tokens go, from number ``left`` to ``before``, else 1, with the gradient of the
        probability that a token stays.
        """
        places = torch.arange(patches, device=self.scores.device)
        probability = (self.scores.softmax(0)[:, None] * (places < self.candidates[:, None])).sum(0)
        return ((places < left) | (places >= before)) + (probability - probability.detach())


class State(NamedTuple):
    """The tokens' sizes (B, N, 1) and masks (B, N), and how many of them are left."""
    size: Tensor
    mask: Tensor
    left: int

    @classmethod
    def of(cls, tokens: Tokens) -> 'State':
        ones = tokens.x.new_ones(*tokens.patches.shape[:2], 1)
        return cls(ones, ones[..., 0], ones.shape[1]) if tokens.memory is None else tokens.memory


@dataclass(frozen=True)
class Learning(TokenReducer):
    """DiffRate while the counts of its blocks are learned."""

    needs_cls: ClassVar[bool] = True

    kept: nn.ModuleList
    merged: nn.ModuleList

    def check(self, arch: Arch) -> None:
        super().check(arch)
        if arch.aux_head or getattr(arch, 'global_pool', 'token') != 'token':
            raise UserError(f'the classifier of {arch.name} reads all tokens, and DiffRate\'s counts are learned where '
                            'it reads CLS alone: name the counts.')

    def blocks(self, arch: Arch) -> Sequence[int]:
        return range(len(self.kept))

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        """What is left of the block before has the gradient of that block's two counts, whichever is the least."""
        patches = torch.tensor(float(grid[0] * grid[1]), device=self.kept[0].scores.device)
        for block, widths in enumerate(blocks):
            dropping, merging = self.kept[block](), self.merged[block]()
            kept = torch.minimum(patches, dropping).detach()
            left = torch.minimum(kept, merging).detach()
            cost = cls_row_cost(patches + prefix, widths) + Cost((kept - left) * left * arch.dim(block), 0)
            left = left + (dropping - dropping.detach()) + (merging - merging.detach())
            yield BlockTokens(patches + prefix, left + prefix, cost)
            patches = left

    def looks(self, block: int) -> bool:
        return True

    def weigh(self, block: int, tokens: Tokens) -> Weigh:
        return partial(masked_softmax, stays=F.pad(State.of(tokens).mask, (tokens.prefix, 0), value=1.))

    def between(self, block: int, tokens: Tokens, looked: Looked, parts: nn.ModuleDict) -> Tokens:
        size, mask, left = State.of(tokens)
        ranked = looked.of_cls(tokens.prefix).argsort(dim=1, descending=True)
        patches, size, mask = take(tokens.patches, ranked), take(size, ranked), mask.gather(1, ranked)
        kept = min(left, int(self.kept[block]()))
        if kept < left:
            mask = mask * self.kept[block].mask(kept, left, patches.shape[1])
        merged = min(kept, int(self.merged[block]()))
        if merged < kept:
            mask = mask * self.merged[block].mask(merged, kept, patches.shape[1])
            alike, into = join(patches[:, :kept], merged)
            joined = patches[:, :merged].scatter_reduce(1, wide(into, patches), patches[:, merged:kept], 'mean')
            small = (size[:, merged:kept] * alike[..., None]).clamp(min=1)  # here, and not where tokens really go
            size = torch.cat([size[:, :merged].scatter_add(1, into[..., None], small), small, size[:, kept:]], dim=1)
            patches = torch.cat([joined, patches[:, merged:]], dim=1)
        tokens = tokens._replace(x=torch.cat([tokens.x[:, :tokens.prefix], patches], dim=1)).sized(size)
        return tokens._replace(memory=State(size, mask, merged))

    def found(self, of: int, restore: str) -> DiffRate:
        """The counts so far, of ``of`` tokens."""
        kept, merged = (tuple(int(count()) + 1 for count in counts) for counts in (self.kept, self.merged))
        return DiffRate(kept, merged, of, restore)


def learn_counts(model: Classifier, batches: Sequence[Batch], target: float, steps: int, *, granularity: int = 4,
                 weight: float = 5., lr: float = .01, last_lr: float = .001, restore: str = 'structured', seed: int = 0,
                 progress: Callable[[int, float], None] | None = None) -> DiffRate:
    """Learn how many tokens every block drops and merges, under a budget of MACs. Block 0 keeps all.

    The loss is the cross-entropy with the labels, or with the model's own predictions where there are none, and
    ``weight`` times the squared distance from the budget in GMACs. AdamW's learning rate falls as a cosine. The authors
    take 3 epochs of ImageNet in batches of 1024. What is learned misses the budget by some percent; in the end all
    counts are moved by the one number that fits it best from below.

    Args:
        model: Dense, with trained weights; it stays as it is.
        batches: Images of one size, with or without labels. Each epoch takes them in another order.
        target: The share of the dense MACs to save, between 0 and 1.
        steps: How many.
        granularity: Tokens between two candidates.
        weight: Of the budget.
        lr, last_lr: Of the first step and behind the last.
        restore: Of the result.
        seed: Of the orders.
        progress: Called after every step with its number, from 1, and the share that the counts save.

    Raises:
        UserError: The model reduces tokens already, or cannot drop any, or the target is out of reach.
    """
    spec, patches = model.spec, math.prod(model.backbone.arch.grid(tuple(_images(batches[0]).shape[-2:])))
    if spec.merges or spec.tokens:
        raise UserError(f'`model`: this {model.backbone.arch.name} reduces tokens already, give one that does not.')
    counts = [nn.ModuleList(Count(patches, granularity if block else patches) for block in range(spec.arch.depth))
              for _ in range(2)]
    learning = Learning(*counts)
    student, device = deepcopy(model).eval().requires_grad_(False), device_of(model)
    student.backbone.spec = learned = spec.replace(tokens=learning)
    parameters = [parameter for part in counts for parameter in part.to(device).parameters()]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=0.)
    size = tuple(_images(batches[0]).shape[-2:])
    dense = classifier_cost(spec, size, model.num_classes).macs
    for step in range(steps):
        epoch, place = divmod(step, len(batches))
        batch = batches[order(len(batches), seed, epoch)[place]]
        images = _images(batch).to(device)
        wanted = _wanted(model, images) if isinstance(batch, Tensor) else batch[1].to(device)
        optimizer.param_groups[0]['lr'] = last_lr + (lr - last_lr) * (1 + math.cos(math.pi * step / steps)) / 2
        macs = classifier_cost(learned, size, model.num_classes).macs
        over = (macs - (1 - target) * dense) / 1e9
        loss = F.cross_entropy(student(images).float(), wanted) + weight * over**2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, 1 - float(macs.detach()) / dense)
    return fitted(spec, learning.found(patches + 1, restore), target, size)


def fitted(spec: Spec, tokens: DiffRate, target: float, img_size: tuple[int, int]) -> DiffRate:
    """``tokens`` with all counts that are not those of the image moved by one number, so that they save ``target`` of
    the dense MACs, and as little more as can be.

    Raises:
        UserError: No number does.
    """
    def moved(counts: tuple[int, ...], by: int) -> tuple[int, ...]:
        return tuple(count if count == tokens.of else min(max(count + by, 2), tokens.of) for count in counts)

    for by in range(tokens.of, -tokens.of, -1):
        found = replace(tokens, kept=moved(tokens.kept, by), merged=moved(tokens.merged, by))
        if reduction(spec.replace(tokens=found), img_size) >= target:
            return found
    raise UserError(f'`target`={target}: two tokens in every block but those that keep all save less.')


@torch.no_grad()
def _wanted(model: Classifier, images: Tensor) -> Tensor:
    return model.eval()(images).float().softmax(1)


def _images(batch: Batch) -> Tensor:
    return batch if isinstance(batch, Tensor) else batch[0]
