"""LFE, the token pruning of VTC-LFC (Wang et al., NeurIPS 2022), written from its description: tokens stay that hold
much of the low frequencies and get much attention.

Frequencies are those of the sequence of tokens, channel by channel: a Gaussian damps the high ones, and a token's
low-frequency energy is the sum over the channels of what is left there. Its attention is that of CLS and the mean one
of all other tokens, which count per head by how much they attend to CLS, and CLS to itself.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid
from cait_mm.tokens.base import (
    BlockTokens,
    Looked,
    TokenReducer,
    Tokens,
    Weigh,
    checked_choice,
    checked_count,
)
from cait_mm.tokens.dropping import RESTORES, arch_has, checked_counts, keep, mask_cost, mask_parts, scaled


@dataclass(frozen=True)
class LFE(TokenReducer):
    """LFE's dropping, between attention and FFN.

    Tokens that stay keep their order, on which the next block's frequencies depend; only the least of them stands
    last. The authors' code leaves the order to ``torch.topk(sorted=False)``, and this is CUDA's.

    Args:
        kept: How many tokens of ``of`` each block leaves, CLS not counted (the authors' ``token_cfg``). Where there are
            fewer already, they stay.
        of: The patches of an image that ``kept`` is meant for; images of other sizes keep the same share, rounded up.
        cutoff: The share of the frequencies that pass, between 0 and 1: the Gaussian that damps the highest ones is
            ``1 - cutoff`` of half the spectrum wide.
        restore: ``structured`` or ``unstructured``: how maps get the dropped tokens back
            (:mod:`~cait_mm.tokens.record`).

    Raises:
        UserError: A setting is impossible.
    """

    needs_cls: ClassVar[bool] = True

    kept: tuple[int, ...]
    of: int = 196
    cutoff: float = 0.85
    restore: str = 'structured'

    def __post_init__(self) -> None:
        object.__setattr__(self, 'kept', checked_counts('kept', self.kept))
        checked_count('of', self.of, 1)
        checked_choice('restore', self.restore, RESTORES[:2])
        if isinstance(self.cutoff, bool) or not isinstance(self.cutoff, (int, float)) or not 0 < self.cutoff < 1:
            raise UserError(f'cutoff={shown(self.cutoff)}: give a number between 0 and 1.')

    def check(self, arch: Arch) -> None:
        super().check(arch)
        arch_has(arch, self, kept=self.kept)

    def blocks(self, arch: Arch) -> Sequence[int]:
        return range(len(self.kept))

    def _left(self, block: int, patches: int, grid: Grid) -> int:
        """How many of ``patches`` tokens stay in ``block``, on images of ``grid`` patches."""
        return min(patches, scaled(self.kept[block], grid, self.of))

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        patches = grid[0] * grid[1]
        for block in range(arch.depth):
            seen, patches = patches, self._left(block, patches, grid)
            yield BlockTokens(seen + prefix, patches + prefix, mask_cost(arch, self.restore, block))

    def parts(self, arch: Arch, depth: int, prefix: int) -> nn.ModuleDict:
        return nn.ModuleDict(mask_parts(arch, self.restore))

    def looks(self, block: int) -> bool:
        return True

    def weigh(self, block: int, tokens: Tokens) -> Weigh | None:
        patches = tokens.patches.shape[1]
        return partial(torch.softmax, dim=-1) if self._left(block, patches, tokens.size) < patches else None

    def between(self, block: int, tokens: Tokens, looked: Looked, parts: nn.ModuleDict) -> Tokens:
        patches, prefix = tokens.patches, tokens.prefix
        left = self._left(block, patches.shape[1], tokens.size)
        if left == patches.shape[1]:
            return tokens
        scores = attention_of(looked.weights(), prefix) * low_energy(patches.detach(), self.cutoff)
        best = scores.topk(left).indices
        return keep(tokens, torch.cat([best[:, :-1].sort(1).values, best[:, -1:]], dim=1), self.restore, parts)


def attention_of(weights: Tensor, prefix: int) -> Tensor:
    """What each token behind ``prefix`` gets of the attention ``weights`` (B, heads, N, N): (B, N - prefix)."""
    cls, others = weights[:, :, 0, prefix:], weights[:, :, prefix:, prefix:].mean(2)
    to_cls, itself = weights[:, :, prefix:, :1].mean(2), weights[:, :, 0, :1]
    return (cls * to_cls).mean(1) + (others * itself).mean(1)


def low_energy(patches: Tensor, cutoff: float) -> Tensor:
    """The low-frequency energy of each of N tokens (B, N, C), up to a factor for each image: (B, N)."""
    count = patches.shape[1]
    from_middle = torch.arange(count, device=patches.device) - (count - 1) / 2  # the highest frequencies
    gain = 1 - torch.exp(-from_middle**2 / (2 * (count * (1 - cutoff) / 2)**2))
    spectrum = torch.fft.fft(patches.float(), dim=1)
    return torch.fft.ifft(spectrum * gain[:, None], dim=1).abs().sum(-1)
