"""Where each patch went after tokens were merged or dropped wherever they lie, and the map that follows.

===============  ==============================================================================================
``restore``      a patch without a token of its own gets
===============  ==============================================================================================
``unmerge``      the token that it was merged into
``structured``   its own last token, from before it was dropped (the paper's *structured* rivals)
``unstructured`` a learned mask token, zero at first (the paper's *unstructured* rivals)
===============  ==============================================================================================
"""
from typing import NamedTuple

import torch
from torch import Tensor


class Record(NamedTuple):
    """Where each of M patches is among the tokens."""

    source: Tensor
    """(B, M): the index of the token that a patch is, or was merged into, prefix counted."""
    stands: Tensor | None = None
    """(B, M): whether a patch still has a token of its own; None if all patches count as such."""
    last: Tensor | None = None
    """(B, M, C) or (1, 1, C): what the other patches get; None gives them the token at ``source``."""

    @classmethod
    def of_all(cls, x: Tensor, prefix: int) -> 'Record':
        """The record of tokens (B, prefix + M, C) of which nothing was dropped or merged."""
        return cls(torch.arange(prefix, x.shape[1], device=x.device).expand(x.shape[0], -1))

    def moved(self, places: Tensor) -> 'Record':
        """The record after the token at index i went to ``places[:, i]``, (B, tokens)."""
        return self._replace(source=places.gather(1, self.source))

    def dropped(self, x: Tensor, places: Tensor, stay: Tensor, restore: str, mask: Tensor | None = None) -> 'Record':
        """The record after tokens were dropped.

        Args:
            x: All tokens (B, N, C), before.
            places: (B, N): where the token at each index went; of a dropped one, what stands for it.
            stay: (B, N): whether it stays.
            restore: ``unmerge``, ``structured`` or ``unstructured``.
            mask: The mask token (1, 1, C) of ``unstructured``.
        """
        if restore == 'unmerge':
            return self.moved(places)
        stands, last = stay.gather(1, self.source), mask
        if self.stands is not None:
            stands = stands & self.stands
        if restore == 'structured':
            last = self.spread(x)
        return Record(places.gather(1, self.source), stands, last)

    def spread(self, x: Tensor) -> Tensor:
        """Tokens (B, N, C) -> patches (B, M, C)."""
        patches = take(x, self.source)
        if self.stands is None or self.last is None:
            return patches
        return torch.where(self.stands[..., None], patches, self.last.to(patches))

    @property
    def keeps_tokens(self) -> bool:
        """Whether tokens of earlier blocks are kept for patches that were dropped."""
        return self.last is not None and self.last.shape[1] > 1


def take(x: Tensor, index: Tensor) -> Tensor:
    """The tokens of ``x`` (B, N, C) at ``index`` (B, M): (B, M, C)."""
    return x.gather(1, wide(index, x))


def wide(index: Tensor, x: Tensor) -> Tensor:
    """(B, M) as an index of tokens of ``x`` (B, N, C)."""
    return index[..., None].expand(-1, -1, x.shape[-1])


def behind_prefix(places: Tensor, prefix: int) -> Tensor:
    """New places (B, N) among the tokens behind ``prefix`` others as those of all tokens, (B, prefix + N)."""
    front = torch.arange(prefix, device=places.device).expand(places.shape[0], -1)
    return torch.cat([front, places + prefix], dim=1)
