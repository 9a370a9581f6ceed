"""S2ViTE's sparse training (Chen et al., NeurIPS 2021; github.com/VITA-Group/SViTE, ``structure_new``).

A share of every layer's heads and neurons is in use, at random at first; the weights of the others are zero. At every
interval the least of those in use are dropped, and as many grow from zero where the gradient is largest. The share that
is dropped falls along a cosine, and after 0.8 of the run the choice stays.
"""
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from cait_mm.errors import UserError
from cait_mm.models import Backbone, Classifier
from cait_mm.ops.compactor import hidden_groups
from cait_mm.pruning.fold import Folded, with_folded
from cait_mm.pruning.settings import require
from cait_mm.pruning.start import backbone_of, has_compactors
from cait_mm.pruning.steps import hook_steps
from cait_mm.utils.schema import is_number, is_whole

LEAST_RATE = 0.005
"""The share that would be dropped at the end of the cosine."""


class Alive(NamedTuple):
    """Which heads (heads,) and neurons (hidden,) of a block are in use: True or False."""

    heads: Tensor
    ffn: Tensor


class S2ViTE:
    """Sparse training of heads and neurons in any loop::

        pruner = S2ViTE(model, heads=0.7, neurons=0.7, total_steps=len(loader) * epochs)
        pruner.attach(optimizer)
        ...                       # any training loop
        small = pruner.fold()

    The choice lies in :meth:`state_dict`, not in the model. Every process of a distributed run makes the same one. Its
    code never accumulates gradients; where a loop does, heads are judged by the last batch.

    Args:
        model: A classifier or a classifier's backbone of full width, without compactors.
        heads, neurons: The share of every layer that is in use, rounded down, one at least.
        total_steps: Length of the run in steps of the optimizer.
        interval: Steps between two choices; None is a hundredth of the run, as its code's 15,000 of 600 epochs.
        rate: The share of those in use that is dropped at the start.
        until: The share of the run in which the choice changes.
        seed: Of the first choice.

    Raises:
        UserError: A value is impossible, the model is pruned already, or something in it reads all heads together.
    """

    def __init__(self, model: Classifier | Backbone, heads: float, neurons: float, total_steps: int, *,
                 interval: int | None = None, rate: float = 0.5, until: float = 0.8, seed: int = 0) -> None:
        for name, value in (('heads', heads), ('neurons', neurons), ('rate', rate), ('until', until)):
            require(name, value, is_number(value, 0, 1) and value > 0, 'a share above 0 and up to 1')
        require('total_steps', total_steps, is_whole(total_steps, 1), 'a positive whole number')
        self.interval = max(1, total_steps // 100) if interval is None else interval
        require('interval', self.interval, is_whole(self.interval, 1), 'a positive whole number')
        self.model, self.backbone = model, backbone_of(model)
        self.total_steps, self.rate, self.until, self.steps = total_steps, rate, until, 0
        spec, blocks = self.backbone.spec, self.backbone.flat_blocks()
        if (spec.is_pruned or spec.tokens or spec.arch.whole or has_compactors(self.backbone)
                or any(block.attn.proj.bias is None for block in blocks)):
            raise UserError(f'`model`: S2ViTE drops heads of a dense {spec.arch.name}, merged or not; this one is '
                            'pruned, has compactors or no bias behind its heads, or a norm or a token reducer reads '
                            'them all.')
        draw, device = torch.Generator().manual_seed(seed), next(self.backbone.parameters()).device
        self.alive = [Alive(*(_some(count, share, draw).to(device) for count, share in (
            (block.attn.num_heads, heads), (block.mlp.fc2.in_features, neurons)))) for block in blocks]
        self._heads: list[Tensor | None] = [None for _ in blocks]
        self._handles: list[RemovableHandle] = []
        self.apply()

    def attach(self, optimizer: Optimizer) -> None:
        """Mask, and choose where that is due, behind every step that ``optimizer`` takes."""
        self.detach()
        self._handles = [*hook_steps(optimizer, lambda: None, lambda _: None, self._after_step),
                         *(block.attn.proj.register_forward_pre_hook(self._watch(index, block.attn.num_heads))
                           for index, block in enumerate(self.backbone.flat_blocks()))]

    def detach(self) -> None:
        """Take the hooks off the optimizer and the model."""
        while self._handles:
            self._handles.pop().remove()

    def fold(self) -> Classifier | Backbone:
        """A copy in eval mode that computes the same without what is not in use."""
        folded = without_unused(self.backbone, self.alive)
        return with_folded(self.model, folded) if isinstance(self.model, Classifier) else folded.backbone

    def state_dict(self) -> dict[str, Any]:
        """What a continued run needs together with the states of model and optimizer."""
        return {'steps': self.steps, 'alive': [tuple(block) for block in self.alive]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.steps = state['steps']
        self.alive = [Alive(*(value.to(own.heads.device) for value in saved))
                      for own, saved in zip(self.alive, state['alive'])]

    @property
    def drop_rate(self) -> float:
        """The share of those in use that is dropped after as many steps as were taken."""
        return LEAST_RATE + (self.rate - LEAST_RATE) * (1 + math.cos(math.pi * self.steps / self.total_steps)) / 2

    @torch.no_grad()
    def apply(self) -> None:
        """Set the weights of what is not in use to zero; biases, and a head's part of the projection, stay."""
        for block, alive in zip(self.backbone.flat_blocks(), self.alive):
            block.attn.qkv.weight.unflatten(0, (3, len(alive.heads), -1)).mul_(alive.heads[:, None, None])
            block.mlp.fc1.weight.unflatten(0, (hidden_groups(block.mlp), -1)).mul_(alive.ffn[:, None])
            block.mlp.fc2.weight.mul_(alive.ffn)

    def _watch(self, index: int, heads: int) -> Callable[[nn.Module, tuple[Tensor]], None]:
        """A hook in front of the projection of a block that keeps, of the last batch, the first-order Taylor term of
        every head and the norm of its gradient, (2, heads): means over the attentions, one per image or window.
        """
        def watch(_: nn.Module, inputs: tuple[Tensor]) -> None:
            values = inputs[0].detach()

            def keep(grad: Tensor) -> None:
                value, slope = (item.float().unflatten(-1, (heads, -1)) for item in (values, grad))
                self._heads[index] = torch.stack([(value * slope).sum((1, 3)).abs(), slope.abs().sum((1, 3))]).mean(1)

            if self._is_due(self.steps + 1) and inputs[0].requires_grad:
                inputs[0].register_hook(keep)

        return watch

    def _is_due(self, steps: int) -> bool:
        return steps % self.interval == 0 and steps < self.until * self.total_steps

    def _after_step(self) -> None:
        self.apply()
        self.steps += 1
        if self._is_due(self.steps):
            self.alive = [self._chosen(*block) for block in zip(self.backbone.flat_blocks(), self.alive, self._heads)]
            self.apply()

    @torch.no_grad()
    def _chosen(self, block: nn.Module, alive: Alive, heads: Tensor | None) -> Alive:
        """The choice behind this step: heads by first-order Taylor and their gradient, neurons by the L1 norms of their
        weights and of the gradients of these; what had no gradient stays.
        """
        fc1, fc2 = block.mlp.fc1.weight, block.mlp.fc2.weight
        if heads is None or fc1.grad is None:
            return alive
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(heads)

        def norms(rows: Tensor, columns: Tensor) -> Tensor:
            return rows.abs().sum(1).unflatten(0, (hidden_groups(block.mlp), -1)).sum(0) + columns.abs().sum(0)

        return Alive(regrown(alive.heads, *heads, self.drop_rate),
                     regrown(alive.ffn, norms(fc1, fc2), norms(fc1.grad, fc2.grad), self.drop_rate))


def regrown(alive: Tensor, worth: Tensor, growth: Tensor, rate: float) -> Tensor:
    """``alive`` (n,) after the share ``rate`` of it, rounded up, was dropped where ``worth`` is least, and as many grew
    where ``growth`` is largest; what was just dropped may grow again.
    """
    count, after = math.ceil(rate * int(alive.sum())), alive.clone()
    after[torch.where(alive, worth, torch.inf).argsort()[:count]] = False
    after[torch.where(after, -torch.inf, growth).argsort(descending=True)[:count]] = True
    return after


@torch.no_grad()
def without_unused(backbone: Backbone, alive: Sequence[Alive]) -> Folded:
    """A copy of a full-width backbone without the heads and neurons whose weights are zero; it computes the same.

    Such a head gives its values' bias to every token, which goes into the bias of the projection.
    """
    spec, small, blocks = backbone.spec, deepcopy(backbone).eval(), list(backbone.spec.blocks)
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    for index, own in enumerate(alive):
        _cut(state, f'{spec.arch.block_path(index)}.', own)
        blocks[index] = replace(blocks[index], num_heads=int(own.heads.sum()), ffn_dim=int(own.ffn.sum()))
    small.rebuild(spec.replace(blocks=tuple(blocks)))
    small.load_state_dict(state)
    return Folded(small, small.spec, 0.)


def _cut(state: dict[str, Tensor], path: str, alive: Alive) -> None:
    """Take what is not in use from the weights of the block at ``path``, in place."""
    heads, ffn = alive
    qkv, proj, fc1 = (f'{path}{name}' for name in ('attn.qkv.', 'attn.proj.', 'mlp.fc1.'))
    of_heads = state[f'{proj}weight'].unflatten(1, (len(heads), -1))
    if f'{qkv}bias' in state:
        values = state[f'{qkv}bias'].unflatten(0, (3, len(heads), -1))[2]
        state[f'{proj}bias'] += (of_heads[:, ~heads] * values[~heads]).sum((1, 2))
    state[f'{proj}weight'] = of_heads[:, heads].flatten(1)
    state[f'{path}mlp.fc2.weight'] = state[f'{path}mlp.fc2.weight'][:, ffn]
    for layer, mask, parts in ((qkv, heads, (3, len(heads), -1)), (fc1, ffn, (-1, len(ffn), 1))):
        for name in ('weight', 'bias'):
            if f'{layer}{name}' in state:
                state[f'{layer}{name}'] = state[f'{layer}{name}'].unflatten(0, parts)[:, mask].flatten(0, 2)
    for name, axis in (('attn.relative_position_bias_table', 1), ('attn.planes', 0)):
        if f'{path}{name}' in state:
            state[f'{path}{name}'] = state[f'{path}{name}'].index_select(axis, heads.nonzero()[:, 0])


def _some(count: int, share: float, draw: torch.Generator) -> Tensor:
    """``share`` of ``count`` places at random, as True."""
    return torch.zeros(count, dtype=torch.bool).index_fill(
        0, torch.randperm(count, generator=draw)[:max(1, int(count * share))], True)
