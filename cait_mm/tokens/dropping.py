"""What all reducers that drop tokens share: the tokens that stay, and how maps get the others back."""
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid
from cait_mm.tokens.base import TokenReducer, Tokens, checked_count
from cait_mm.tokens.record import behind_prefix, take

RESTORES = ('structured', 'unstructured', 'unmerge')
"""How maps are restored where tokens were dropped (:mod:`cait_mm.tokens.record`)."""
MASK = 'mask'


def checked_counts(name: str, value: Any, least: int = 0) -> tuple[int, ...]:
    """``value``, a count of tokens for every block.

    Raises:
        UserError: It is something else.
    """
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
        raise UserError(f'{name}={shown(value)}: give one count of tokens per block.')
    return tuple(checked_count(f'a count of {name}', count, least) for count in value)


def arch_has(arch: Arch, reducer: TokenReducer, **counts: Sequence[int]) -> None:
    """Raise if ``arch`` has another number of blocks than there are ``counts``."""
    for name, value in counts.items():
        if len(value) != arch.depth:
            raise UserError(f'tokens={type(reducer).__name__}: {name} has {len(value)} counts, and {arch.name} has '
                            f'blocks 0 to {arch.depth - 1}.')


def scaled(count: int, grid: Grid, of: int) -> int:
    """``count`` of ``of`` patches as the same share of a grid (H, W) of patches, rounded up."""
    return -(-count * grid[0] * grid[1] // of)


def cls_row_cost(tokens: int, block: BlockSpec) -> Cost:
    """CLS's attention to ``tokens`` tokens, computed once more: fused attention does not give it away."""
    return Cost(block.num_heads * tokens * block.qk_dim, 0)


class MaskToken(nn.Module):
    """What maps hold where tokens were dropped: one learned token (1, 1, C), zero at first, as in MAE."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, dim))


def mask_parts(arch: Arch, restore: str) -> dict[str, nn.Module]:
    """The mask token, if maps are restored with one."""
    return {MASK: MaskToken(arch.out_dim)} if restore == 'unstructured' else {}


def mask_cost(arch: Arch, restore: str, block: int) -> Cost:
    """The weights of the mask token, which count in block 0."""
    return Cost(0, arch.out_dim if restore == 'unstructured' and block == 0 else 0)


def keep(tokens: Tokens, stay: Tensor, restore: str, parts: nn.ModuleDict, fused: Tensor | None = None,
         into: Tensor | None = None) -> Tokens:
    """Drop all tokens behind the prefix but those at ``stay``.

    Args:
        tokens: With N tokens behind the prefix.
        stay: (B, k): which of them stay, in their new order.
        restore: One of :data:`RESTORES`.
        parts: Holds the mask token of ``unstructured``.
        fused: (B, m, C): tokens to append.
        into: (B, N): where each dropped token went among the k + m tokens that are left, for ``unmerge``; None is the
            last of them.
    """
    prefix, count = tokens.prefix, tokens.x.shape[1] - tokens.prefix
    front = [tokens.x[:, :prefix]] if prefix else []
    x = torch.cat([*front, take(tokens.patches, stay), *([] if fused is None else [fused])], dim=1)
    if not tokens.maps:
        return tokens._replace(x=x)
    batch, kept = stay.shape
    last = kept - 1 if fused is None else kept + fused.shape[1] - 1
    places = stay.new_full((batch, count), last) if into is None else into
    places = places.scatter(1, stay, torch.arange(kept, device=x.device).expand(batch, -1))
    stays = torch.zeros_like(places).scatter(1, stay, 1)
    stays = torch.cat([stays.new_ones(batch, prefix), stays], dim=1).bool()
    mask = parts[MASK].token if MASK in parts else None
    record = tokens.noted().dropped(tokens.x, behind_prefix(places, prefix), stays, restore, mask)
    return tokens._replace(x=x, record=record)
