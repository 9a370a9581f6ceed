"""Compactors in a parameter group of their own, as ResRep trains them: beta1 0.99, no weight decay."""
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from cait_mm.errors import UserError

BETA1 = 0.99
"""Adam's first momentum for compactors."""


def own_options(options: Mapping[str, Any], lr_mult: float = 1., beta1: float = BETA1) -> dict[str, Any]:
    """The options of a compactors' group, made from those of other weights.

    beta2 is at least beta1. Where the memory of squared gradients fades faster than the momentum, as with 0.95, the
    steps of a column whose gradient was silenced grow instead of fading.
    """
    own = {name: value for name, value in options.items() if name not in ('params', 'param_names')}
    own['weight_decay'] = 0.
    if 'betas' in own:
        own['betas'] = (beta1, max(beta1, own['betas'][1]))
    if 'lr' in own:
        own['lr'] = own['lr'] * lr_mult
    return own


def give_own_group(optimizer: Optimizer, columns: Mapping[str, nn.Parameter], lr_mult: float = 1.) -> None:
    """Move ``columns``, parameters by name, from the optimizer's groups to a new one; groups that hold nothing else are
    the caller's choice and stay as they are.

    Raises:
        UserError: A scheduler exists already, which keeps a learning rate for every group.
    """
    ours = set(map(id, columns.values()))
    holding = [group for group in optimizer.param_groups if any(id(value) in ours for value in group['params'])]
    held = [id(value) for group in holding for value in group['params']]
    if set(held) == ours:
        return
    like = (holding or optimizer.param_groups)[0]
    if 'initial_lr' in like:
        raise UserError('the compactors have no parameter group of their own yet and a learning rate scheduler is '
                        'there already: attach to the optimizer first, then make the scheduler.')
    for group in holding:
        stay = [index for index, value in enumerate(group['params']) if id(value) not in ours]
        for key in ('params', 'param_names'):
            if key in group:
                group[key] = [group[key][index] for index in stay]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group['params']]
    named = 'param_names' in like
    optimizer.add_param_group({'params': list(columns.items() if named else columns.values()),
                               **own_options(like, lr_mult)})


def group_of(optimizer: Optimizer, columns: Mapping[str, nn.Parameter]) -> dict[str, Any]:
    """The group of the first of ``columns``.

    Raises:
        UserError: The optimizer does not hold all of them.
    """
    held = {id(value): group for group in reversed(optimizer.param_groups) for value in group['params']}
    missing = [name for name, value in columns.items() if id(value) not in held]
    if missing:
        raise UserError(f'the optimizer does not hold {len(missing)} of {len(columns)} compactors ({missing[0]}, ...), '
                        'whose channels could never vanish: give it all parameters of the model.')
    return held[id(next(iter(columns.values())))]
