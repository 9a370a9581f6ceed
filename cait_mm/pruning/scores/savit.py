"""SAViT's joint score (NeurIPS 2022; github.com/hikvision-research/SAViT, method 2 with its Hessian).

Every head and every hidden channel has a gate of 1. Within a component, heads or FFN, units go in the order of the
mean over batches of (gate times gradient) squared, over all blocks together. Between the components the Hessian
decides: with shares a of the heads and b of the FFN cut, the damage is ``H_aa a^2 + 2 H_ab a b + H_bb b^2``, and the
shares are those that cost least among all that save the wanted MACs. Its code looks for them with an evolutionary
search; as the MACs are linear in a and b they are found in closed form here, and as the damage is of one degree, a : b
is the same for every amount. A unit's score is the saving at which its turn comes.

The entries of H are means of second derivatives by whole layers of gates, over pairs of a layer and one that is not
behind it, divided by the number of weights as in its code: 1, 4 and 16 times the squared width for H_aa, H_ab and H_bb.
Its code draws one pair at random per batch; here every layer has its turn on one batch, with all its pairs.

Here every head keeps as many channels as the others, so a head's score is shared out among its channels in proportion
to the squares of their own gates, and the turn of the channels that go together is that of the least.

Left out: whole heads, and the embedding as a third component. Scores depend on the size of batches, as its do.
"""
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from cait_mm.macs import reduction
from cait_mm.models.base import backbone_inside
from cait_mm.ops.attention import set_fused_attn
from cait_mm.ops.compactor import hidden_groups
from cait_mm.pruning.scores.first_order import means, terms
from cait_mm.pruning.scores.task import Batch, answers, task_loss
from cait_mm.pruning.selection import BlockChannels
from cait_mm.spec import Spec

LOOKED_AT = 4
"""Images of a batch that the Hessian sees: a layer's turn takes as long as 20 gradients."""
TINY = 1e-30
LEAST = 1e-6
"""The least part that a component has in what is saved, which keeps its units in order behind the other's."""


def savit(model: nn.Module, batches: Sequence[Batch]) -> list[BlockChannels]:
    """The share of the MACs that is saved when a channel's turn comes, up to a common factor."""
    found, worth = criteria(model, batches), worth_of(backbone_inside(model).spec)
    part = part_of_heads(curvature(model, batches), worth)
    attention = _turns([values for block in found for values in (block.q, block.v)])
    ffn = _turns([block.ffn[None] for block in found])
    scores = []
    for qk, v, hidden in zip(attention[::2], attention[1::2], ffn):
        qk, v, hidden = qk * worth[0] / part, v * worth[0] / part, hidden[0] * worth[1] / (1 - part)
        scores.append(BlockChannels(qk, qk, v, hidden))
    return scores


def criteria(model: nn.Module, batches: Sequence[Batch]) -> list[BlockChannels]:
    """The criterion of every hidden channel, and of every head, shared out among its channels; q and k go together."""
    found = list(terms(model, batches))
    own = means([block.map(lambda values: values.sum(0).square()) for block in batch] for batch in found)
    heads = means([block.map(lambda values: values.sum((0, -1)).square()) for block in batch] for batch in found)
    result = []
    for block, of_heads in zip(own, heads):
        qk, v = (_shared_out(of_heads.v, values) for values in (block.q + block.k, block.v))
        result.append(BlockChannels(qk, qk, v, block.ffn))
    return result


def curvature(model: nn.Module, batches: Sequence[Batch]) -> tuple[float, float, float]:
    """``H_aa``, ``H_ab`` and ``H_bb`` of the loss by the gates of heads and of hidden channels.

    A layer's gates of 1 move together, so the sum of the Hessian's entries between two layers is the second derivative
    by one factor of each.
    """
    blocks = backbone_inside(model).flat_blocks()
    count, rows = len(blocks), []
    set_fused_attn(model, False)  # fused kernels have no second derivative
    factors = [torch.ones((), device=block.mlp.fc1.weight.device, requires_grad=True) for block in (*blocks, *blocks)]
    hooks = [layer.register_forward_hook(partial(_scale_last, factor, parts)) for block, of_heads, of_ffn in zip(
        blocks, factors, factors[count:]) for layer, factor, parts in (
            (block.attn.qkv, of_heads, 3), (block.mlp.fc1, of_ffn, hidden_groups(block.mlp)))]
    for number, (images, targets) in enumerate(batches):
        loss = task_loss(answers(model, images[:LOOKED_AT])[0], [part[:LOOKED_AT] for part in targets])
        loss = loss + 0 * torch.stack(factors).square().sum()  # blocks that the loss does not see have a Hessian too
        first = torch.autograd.grad(loss, factors, create_graph=True)
        for layer in range(number, count, len(batches)) or [number % count]:
            of_heads, of_ffn = (torch.stack(torch.autograd.grad(first[place], factors, retain_graph=True))
                                for place in (layer, count + layer))
            before = layer + 1
            rows.append(torch.stack([of_heads[:before].mean(), of_heads[count:][:before].mean() / 4,
                                     of_ffn[count:][:before].mean() / 16]))
    for hook in hooks:
        hook.remove()
    return tuple(torch.stack(rows).mean(0).tolist())


def worth_of(spec: Spec) -> tuple[float, float]:
    """The share of all MACs in what goes with the channels of heads, and in the FFNs."""
    def without(*widths: str) -> float:
        blocks = [replace(block, **{name: getattr(block, name) // 2 for name in widths}) for block in spec.blocks]
        return 2 * (reduction(spec.replace(blocks=tuple(blocks))) - reduction(spec))

    return without('qk_dim', 'v_dim'), without('ffn_dim')


def part_of_heads(curvature: Sequence[float], worth: Sequence[float]) -> float:
    """The part of the savings that comes from heads where the damage is least, within :data:`LEAST` of 0 and 1."""
    aa, ab, bb = (value / worth[i] / worth[j] for value, i, j in zip(curvature, (0, 0, 1), (0, 1, 1)))
    bend = aa - 2 * ab + bb
    part = (bb - ab) / bend if bend > 0 else float(aa < bb)
    return min(max(part, LEAST), 1 - LEAST)


def _shared_out(heads: Tensor, channels: Tensor) -> Tensor:
    """Values (heads,) in proportion to those of their channels (heads, width)."""
    return channels / channels.sum(1, keepdim=True).clamp(min=TINY) * heads[:, None]


def _turns(values: Sequence[Tensor]) -> list[Tensor]:
    """The place of every channel's criterion among all, from 0 to below 1.

    Of (heads, width) those of one rank in each head go together, when the least of them does.
    """
    sorts = [block.sort(dim=1) for block in values]
    places = torch.cat([ordered.min(0).values for ordered, _ in sorts]).argsort().argsort()
    turns = (places / len(places)).split([block.shape[1] for block in values])
    return [torch.empty_like(block).scatter(1, order, turn.to(block).expand_as(block))
            for block, (_, order), turn in zip(values, sorts, turns)]


def _scale_last(factor: Tensor, parts: int, _: nn.Module, __: tuple, output: Tensor) -> Tensor:
    """Multiply the last of ``parts`` equal parts of a layer's output by ``factor``."""
    *others, last = output.chunk(parts, -1)
    return torch.cat([*others, last * factor], -1)
