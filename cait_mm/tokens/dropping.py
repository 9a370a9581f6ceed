"""What all reducers that drop tokens share: the tokens that stay, and how maps get the others back."""
import torch
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.tokens.base import Tokens
from cait_mm.tokens.record import behind_prefix, take

RESTORES = ('structured', 'unstructured', 'unmerge')
"""How maps are restored where tokens were dropped (:mod:`cait_mm.tokens.record`)."""
MASK = 'mask'


class MaskToken(nn.Module):
    """What maps hold where tokens were dropped: one learned token (1, 1, C), zero at first, as in MAE."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, dim))


def mask_parts(arch: Arch, restore: str) -> dict[str, nn.Module]:
    """The mask token, if maps are restored with one."""
    return {MASK: MaskToken(arch.out_dim)} if restore == 'unstructured' else {}


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
    stays = torch.zeros(batch, count, dtype=torch.bool, device=x.device).scatter(1, stay, True)
    stays = torch.cat([stays.new_ones(batch, prefix), stays], dim=1)
    mask = parts[MASK].token if MASK in parts else None
    record = tokens.noted().dropped(tokens.x, behind_prefix(places, prefix), stays, restore, mask)
    return tokens._replace(x=x, record=record)
