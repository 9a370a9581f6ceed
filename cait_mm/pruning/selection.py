"""Which channels are unimportant (paper, Alg. 1 to 3), as one sort under a MACs budget.

Channels are taken in ascending score until the wanted reduction is reached. With *head-level consistency* taking a
channel in one head takes the lowest remaining one in every other head; with *attention-level consistency* k loses the
channels that q loses. Heads then move in step: the i-th unit of an attention is the i-th smallest channel of every
head, its key the smallest of them, and the algorithms become one sort of all units.

Without a consistency single channels are taken, and only those that can really be removed count towards the budget: in
every head as many as the head that lost fewest, and of q and k those that both lost.

Under a budget of time (a *price* of blocks, :mod:`cait_mm.latency`) q, k and v of an attention lose channels together,
because they run at one width, and whole steps are taken in ascending order of the score that they lose per millisecond
that they save. A step that saves too little to be worth its score is taken together with the next ones.
"""
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from cait_mm.arch import Arch, BlockSpec
from cait_mm.errors import UserError
from cait_mm.latency.table import as_speedup
from cait_mm.macs import reduction
from cait_mm.ops.compactor import split_qkv
from cait_mm.ops.planes import per_channel, per_plane
from cait_mm.spec import Spec


@dataclass(frozen=True)
class BlockChannels:
    """One value per prunable channel of a block: ``q``, ``k``, ``v`` (heads, width) and ``ffn`` (hidden,).

    Scores going into :func:`select` (floats), masks coming out of it (True: the channel stays).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    ffn: Tensor

    @classmethod
    def of_layers(cls, qkv: Tensor, ffn: Tensor) -> 'BlockChannels':
        """Of values per channel of a fused qkv, (3 * heads, width), and of an FFN, (1, hidden), or (2, hidden) where it
        is gated: its values speak for their gates.
        """
        return cls(*split_qkv(qkv, len(qkv) // 3), ffn[-1])

    def by_layer(self) -> tuple[Tensor, Tensor]:
        """The inverse of :meth:`of_layers`."""
        return torch.cat([self.q, self.k, self.v]), self.ffn[None]

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Name and values of every module."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    def map(self, function: Callable[[Tensor], Tensor]) -> 'BlockChannels':
        """``function`` of the values of every module."""
        return BlockChannels(**{name: function(values) for name, values in self.items()})


@dataclass(frozen=True)
class Consistency:
    """The paper's two consistencies; switching one off is an ablation (Tab. XI)."""

    head: bool = True
    attention: bool = True


@dataclass(frozen=True)
class _Group:
    """Channels that are taken one unit after the other.

    ``units[module][c]`` is the unit that channel c of a module belongs to, (rows, width); ``keys`` the ascending score
    of every unit that may be taken. Channels of later units always stay.
    """

    block: int
    units: dict[str, Tensor]
    keys: Tensor

    def kept(self, count: int) -> dict[str, Tensor]:
        """The channels of each module that stay when ``count`` units are taken."""
        return {module: units >= count for module, units in self.units.items()}


def select(spec: Spec, scores: Sequence[BlockChannels], target: float, consistency: Consistency = Consistency(),
           align: int = 1, saved: Callable[[Spec], float] = reduction,
           price: Callable[[int, BlockSpec], float] | None = None) -> list[BlockChannels]:
    """Choose the channels to remove so that the MACs fall by ``target`` against the dense model.

    Args:
        spec: The model at full width with its merges; they count towards the target and set every block's tokens.
        scores: The importance of every channel, one entry per block.
        target: Reduction of all MACs, between 0 and 1. A target that merging alone reaches removes nothing.
        consistency: Which consistencies hold.
        align: Leave widths in multiples of this; only with head-level consistency.
        saved: The share of the MACs that a spec saves; by default that of the classifier.
        price: Milliseconds of a block, from its number and widths, at the tokens of ``spec``: ``saved`` and ``target``
            are then shares of time, and scores have to add up over channels, as squared norms do. Only with both
            consistencies.

    Returns:
        The masks of every block. At least one channel of every module and head stays (``align`` where it is set).

    Raises:
        UserError: The target is out of reach; the message names the largest one within reach.
    """
    if align > 1 and not consistency.head:
        raise UserError('aligned widths need head-level consistency.')
    if price is not None and consistency != Consistency():
        raise UserError('a budget of time needs both consistencies.')
    groups = [_possible(group, spec.arch) for index, block in enumerate(scores)
              for group in _groups(index, block, consistency, align, spec.arch.planes)]
    if price is not None:
        groups = [_priced(group, scores[group.block], spec.blocks[group.block], price) for group in _joined(groups)]
    owners = torch.cat([torch.full((len(group.keys),), index) for index, group in enumerate(groups)])
    # Equal scores, as at the start of training, are taken evenly over all groups rather than group by group.
    place = torch.cat([torch.linspace(0, 1, len(group.keys)) for group in groups])
    spread = place.argsort(stable=True)
    owners = owners[spread][torch.cat([group.keys for group in groups]).cpu()[spread].argsort(stable=True)]

    def masks(taken: int) -> list[BlockChannels]:
        counts = torch.bincount(owners[:taken], minlength=len(groups)).tolist()
        kept: list[dict] = [{} for _ in scores]
        for group, count in zip(groups, counts):
            kept[group.block].update(group.kept(count))
        return [BlockChannels(block['q'], block['k'], block['v'], block['ffn'][0]) for block in kept]

    def reached(taken: int) -> float:
        return saved(pruned_spec(spec, masks(taken)))

    taken = bisect_left(range(len(owners) + 1), target, key=reached)
    if taken > len(owners):
        shown = 'a reduction of {:.1%}'.format if price is None else as_speedup
        raise UserError(f'{shown(target)} is out of reach: with these merges pruning channels gets to at most '
                        f'{shown(reached(len(owners))).split()[-1]}; lower the target or merge more tokens.')
    return masks(taken)


def pruned_spec(spec: Spec, masks: Sequence[BlockChannels]) -> Spec:
    """``spec`` with the widths that are left when all that can really be removed under ``masks`` is removed.

    Heads run in parallel, so each loses as many channels as the one that loses fewest; a channel of the q-k product
    goes only when both q and k lost it. Blocks that have no mask, because nobody built them, stay.
    """
    def width(mask: Tensor) -> int:
        return int(mask.sum(1).max())

    blocks = [replace(block, qk_dim=width(mask.q | mask.k), v_dim=width(mask.v), ffn_dim=int(mask.ffn.sum()))
              for block, mask in zip(spec.blocks, masks)]
    return spec.replace(blocks=(*blocks, *spec.blocks[len(blocks):]))


def _groups(index: int, block: BlockChannels, consistency: Consistency, align: int,
            planes: str | None) -> Iterator[_Group]:
    make = _heads_in_step if consistency.head else _single_channels
    both = [(('q', 'k'), (block.q + block.k) / 2)] if consistency.attention else [(('q',), block.q), (('k',), block.k)]
    for modules, values in both:
        if planes is None:
            yield make(index, modules, values, align)
            continue
        group = make(index, modules, per_plane(values, planes).mean(-1), -(-align // 2))
        yield replace(group, units={name: per_channel(units, planes) for name, units in group.units.items()})
    yield make(index, ('v',), block.v, align)
    yield _heads_in_step(index, ('ffn',), block.ffn[None], align)


def _possible(group: _Group, arch: Arch) -> _Group:
    """The group, without units that may be taken where the architecture keeps its channels."""
    return replace(group, keys=group.keys[:0]) if group.units.keys() & set(arch.whole) else group


def _heads_in_step(index: int, modules: tuple[str, ...], scores: Tensor, align: int) -> _Group:
    """Head-level consistency: unit i is the i-th smallest channel of every head, its key the smallest of them.

    With ``align`` a unit is that many channels, the first one as many as bring the width to a multiple.
    """
    width = scores.shape[1]
    ordered, order = scores.sort(dim=1)
    ranks, keys = order.argsort(dim=1), ordered.min(dim=0).values
    if align == 1:
        return _Group(index, dict.fromkeys(modules, ranks), keys[:-1])
    first = width % align or align
    unit_of_rank = torch.cat([torch.zeros(first), torch.arange(width - first) // align + 1]).long().to(ranks.device)
    means = [keys[unit_of_rank == unit].mean() for unit in range(int(unit_of_rank[-1]))]
    return _Group(index, dict.fromkeys(modules, unit_of_rank[ranks]), torch.stack(means) if means else keys[:0])


def _single_channels(index: int, modules: tuple[str, ...], scores: Tensor, align: int) -> _Group:
    """No consistency between heads: every channel is a unit; the best of each head always stays."""
    keys, order = scores.flatten().sort()
    ranks = order.argsort().view_as(scores)
    best = ranks.max(dim=1, keepdim=True).values
    stays = ranks == best
    # Close the gaps that the staying channels leave in the order.
    shift = (best.flatten()[None, None] < ranks[..., None]).sum(-1)
    units = torch.where(stays, scores.numel(), ranks - shift)
    may_go = torch.ones_like(keys, dtype=torch.bool)
    may_go[best.flatten()] = False
    return _Group(index, dict.fromkeys(modules, units), keys[may_go])


def _joined(groups: Sequence[_Group]) -> Iterator[_Group]:
    """The groups, those of q, k and v of a block as one where all of them may lose channels."""
    for attention, values, ffn in zip(*(groups[part::3] for part in range(3))):
        if len(attention.keys) == len(values.keys):
            yield replace(attention, units=attention.units | values.units)
        else:
            yield from (attention, values)
        yield ffn


def _priced(group: _Group, scores: BlockChannels, block: BlockSpec, price: Callable[[int, BlockSpec], float]) -> _Group:
    """The group with the score that its units lose per millisecond that they save as keys, in ascending order: units
    that save less than later ones share their mean.
    """
    values = {'q': (scores.q + scores.k) / 2, 'v': scores.v, 'ffn': scores.ffn[None]}
    widths, ms, left = {'q': 'qk_dim', 'v': 'v_dim', 'ffn': 'ffn_dim'}, [], []
    for count in range(len(group.keys) + 1):
        kept = {name: mask for name, mask in group.kept(count).items() if name in values}  # k goes with q
        changes = {widths[name]: int(mask[0].sum()) for name, mask in kept.items()}
        ms.append(price(group.block, replace(block, **changes)))
        left.append(sum(float(values[name][mask].double().sum()) for name, mask in kept.items()))
    steps = [(left[i] - left[i + 1], ms[i] - ms[i + 1]) for i in range(len(group.keys))]
    return replace(group, keys=torch.tensor(slopes(steps), dtype=torch.double))


def slopes(steps: Sequence[tuple[float, float]]) -> list[float]:
    """What every step loses per unit that it saves, on the lower convex hull of all: steps that are dearer than those
    behind them are taken together with these.

    Args:
        steps: Loss and saving of every step, in order.
    """
    pools: list[tuple[float, float, int]] = []
    for loss, saving in steps:
        pools.append((loss, saving, 1))
        while len(pools) > 1 and _slope(*pools[-1]) < _slope(*pools[-2]):
            pools[-2:] = [tuple(map(sum, zip(*pools[-2:])))]
    return [_slope(*pool) for pool in pools for _ in range(pool[2])]


def _slope(loss: float, saving: float, _: int = 1) -> float:
    return loss / saving if saving > 0 else math.inf
