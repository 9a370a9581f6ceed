"""ToMe (Bolya et al., ICLR 2023): tokens merged by similarity between attention and FFN, written from its description.

Tokens are split alternately into two sets; every token of the first finds its most similar one in the second, by the
cosine of their keys averaged over the heads; the closest pairs merge as means weighted by how many patches a token
stands for, and that count's logarithm is added to the attention logits ("proportional attention").
"""
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cait_mm.arch import Arch
from cait_mm.arch.base import BlockSpec
from cait_mm.arch.cost import Cost, linear
from cait_mm.errors import UserError, shown
from cait_mm.ops.token_merge import Grid
from cait_mm.tokens.base import BlockTokens, Looked, TokenReducer, Tokens, checked_blocks, checked_count
from cait_mm.tokens.record import behind_prefix, take, wide

HALF = 'half'


class Matching(NamedTuple):
    """Which tokens merge: indices into the first set that stay (B, k) and go (B, r), and what they join in the other.

    ``first`` is where the first set begins among tokens that alternate between both: 0 or 1.
    """
    stay: Tensor
    go: Tensor
    into: Tensor
    first: int

    def merge(self, x: Tensor, mode: str = 'sum') -> Tensor:
        """(B, N, C) -> (B, N - r, C): the first set's tokens that stay, then all others with those that joined them."""
        one, other = x[:, self.first::2], x[:, 1 - self.first::2]
        joined = other.scatter_reduce(1, wide(self.into, x), take(one, self.go), mode)
        return torch.cat([take(one, self.stay), joined], dim=1)

    def places(self, tokens: int) -> Tensor:
        """The new index of each of ``tokens`` tokens: (B, tokens)."""
        batch, kept = self.stay.shape
        places = self.stay.new_zeros(batch, tokens)
        one, other = places[:, self.first::2], places[:, 1 - self.first::2]
        after = torch.arange(other.shape[1], device=other.device).expand(batch, -1) + kept
        before = one.scatter(1, self.stay, torch.arange(kept, device=one.device).expand(batch, -1))
        places[:, self.first::2] = before.scatter(1, self.go, self.into + kept)
        places[:, 1 - self.first::2] = after
        return places


def match(metric: Tensor, count: int, prefix: int = 1) -> Matching:
    """Pair up ``count`` tokens (at most half of those that may go) by the cosine of their ``metric`` (B, N, C).

    The N tokens stand behind ``prefix`` others, which neither go nor are joined, and the two sets alternate from the
    very first token on. Tokens that stay keep their order; without a prefix they stand by how alike their partner is,
    as in ToMe's own code, which decides the sets of the next block.
    """
    first = prefix % 2
    metric = F.normalize(metric, dim=-1)
    best, partner = (metric[:, first::2] @ metric[:, 1 - first::2].transpose(1, 2)).max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    count = min(count, metric.shape[1] // 2)
    go, stay = order[:, :count], order[:, count:]
    return Matching(stay.sort(dim=-1).values if prefix else stay, go, partner.gather(1, go), first)


@dataclass(frozen=True)
class ToMe(TokenReducer):
    """ToMe's merging. Maps are restored by giving every patch the token that it was merged into.

    Args:
        r: Tokens merged in every block, or ``((block, count), ...)``; ``'half'`` merges as many as can be.
        linear: Blocks whose merged tokens go through a linear layer, which starts as the identity: the paper's
            "ToMe+Param" has it in every third block (Tab. XV).

    Raises:
        UserError: ``r`` or ``linear`` is neither a count nor names blocks.
    """

    r: int | str | tuple[tuple[int, int | str], ...] = 13
    linear: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, 'r', _checked_r(self.r))
        object.__setattr__(self, 'linear', checked_blocks('linear', self.linear))

    def blocks(self, arch: Arch) -> Sequence[int]:
        return [*([block for block, _ in self.r] if isinstance(self.r, tuple) else range(arch.depth)), *self.linear]

    def _merged(self, block: int, patches: int) -> int:
        """How many of ``patches`` tokens go in ``block``."""
        count = dict(self.r).get(block, 0) if isinstance(self.r, tuple) else self.r
        return patches // 2 if count == HALF else min(count, patches // 2)

    def counts(self, arch: Arch, blocks: Sequence[BlockSpec], grid: Grid, prefix: int) -> Iterator[BlockTokens]:
        patches = grid[0] * grid[1]
        for block, widths in enumerate(blocks):
            gone, cost = self._merged(block, patches), Cost(0, 0)
            if gone:
                cost += Cost((patches - patches // 2) * (patches // 2) * widths.qk_dim, 0)
            if block in self.linear:
                cost += linear(patches - gone, arch.dim(block), arch.dim(block))
            yield BlockTokens(patches + prefix, patches - gone + prefix, cost)
            patches -= gone

    def parts(self, arch: Arch, depth: int, prefix: int) -> nn.ModuleDict:
        parts = nn.ModuleDict({str(block): nn.Linear(arch.dim(block), arch.dim(block))
                               for block in self.linear if block < depth})
        for layer in parts.values():
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)
        return parts

    def looks(self, block: int) -> bool:
        return not isinstance(self.r, tuple) or block in dict(self.r) or block in self.linear

    def between(self, block: int, tokens: Tokens, looked: Looked, parts: nn.ModuleDict) -> Tokens:
        prefix, patches = tokens.prefix, tokens.patches
        count = self._merged(block, patches.shape[1])
        if count:
            matching = match(looked.k.mean(1)[:, prefix:].detach(), count, prefix)
            size = torch.ones_like(patches[..., :1]) if tokens.memory is None else tokens.memory
            total = matching.merge(size)
            if tokens.maps:
                places = behind_prefix(matching.places(patches.shape[1]), prefix)
                tokens = tokens._replace(record=tokens.noted().moved(places))
            patches = matching.merge(patches * size) / total
            tokens = tokens.sized(total)
        if str(block) in parts:
            patches = parts[str(block)](patches)
        return tokens._replace(x=torch.cat([tokens.x[:, :prefix], patches], dim=1))


def _checked_r(r: Any) -> int | str | tuple[tuple[int, int | str], ...]:
    how = 'give a count of tokens, or pairs of a block and a count or \'half\''
    if r == HALF:
        return HALF
    if isinstance(r, (Mapping, Sequence)) and not isinstance(r, str):
        try:
            pairs = tuple((block, count) for block, count in (r.items() if isinstance(r, Mapping) else r))
        except (TypeError, ValueError):
            raise UserError(f'r={shown(r)}: {how}.') from None
        checked_blocks('r', [block for block, _ in pairs])
        return tuple(sorted((int(block), count if count == HALF else checked_count(f'r of block {block}', count))
                            for block, count in pairs))
    try:
        return checked_count('r', r)
    except UserError:
        raise UserError(f'r={shown(r)}: {how}.') from None
