"""ToMe (Bolya et al., ICLR 2023): tokens merged by similarity between attention and FFN, written from its description.

Tokens are split alternately into two sets; every token of the first finds its most similar one in the second, by the
cosine of their keys averaged over the heads; the closest pairs merge as means weighted by how many patches a token
stands for, and that count's logarithm is added to the attention logits ("proportional attention").
"""
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from cait_mm.backbones import CAITDeiT
from cait_mm.errors import UserError
from cait_mm.models.base import last
from cait_mm.models.block import Block
from cait_mm.ops.attention import Attention
from cait_mm.ops.token_merge import Grid

Merged = int | str


class Matching(NamedTuple):
    """Which tokens merge: indices into the even tokens that stay (B, k) and go (B, r), and the odd ones they join."""
    stay: Tensor
    go: Tensor
    into: Tensor

    def merge(self, x: Tensor, mode: str = 'sum') -> Tensor:
        """(B, N, C) -> (B, N - r, C): the even tokens that stay, then all odd ones with the tokens that joined them."""
        even, odd = x[:, ::2], x[:, 1::2]
        joined = odd.scatter_reduce(1, _wide(self.into, x), even.gather(1, _wide(self.go, x)), mode)
        return torch.cat([even.gather(1, _wide(self.stay, x)), joined], dim=1)

    def places(self, tokens: int) -> Tensor:
        """The new index of each of ``tokens`` tokens: (B, tokens)."""
        batch, kept = self.stay.shape
        odd = torch.arange(tokens // 2, device=self.stay.device).expand(batch, -1) + kept
        even = odd.new_zeros(batch, tokens - tokens // 2)
        even = even.scatter(1, self.stay, torch.arange(kept, device=even.device).expand(batch, -1))
        even = even.scatter(1, self.go, self.into + kept)
        places = even.new_zeros(batch, tokens)
        places[:, ::2], places[:, 1::2] = even, odd
        return places


def match(metric: Tensor, count: int, has_cls: bool = True) -> Matching:
    """Pair up ``count`` tokens (at most half of those that may go) by the cosine of their ``metric`` (B, N, C).

    CLS, the first token where there is one, neither goes nor is joined by another CLS. Even tokens that stay keep their
    order then, so CLS stays first; without CLS they stand by how alike their partner is, as in ToMe's own code, which
    decides which tokens are even in the next block.
    """
    metric = F.normalize(metric, dim=-1)
    scores = metric[:, ::2] @ metric[:, 1::2].transpose(1, 2)
    if has_cls:
        scores[:, 0] = -torch.inf
    best, partner = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    count = min(count, (metric.shape[1] - int(has_cls)) // 2)
    go, stay = order[:, :count], order[:, count:]
    return Matching(stay.sort(dim=-1).values if has_cls else stay, go, partner.gather(1, go))


class ToMeAttention(Attention):
    """Proportional attention that also gives the tokens' similarity: (B, N, C) -> (B, N, C) and (B, N, qk_dim)."""

    def forward(self, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``size`` (B, N, 1) is how many patches each token stands for; None is one each."""
        q, k, v = self.project(x)
        bias = None if size is None else size.log().transpose(1, 2)[:, None].to(q)
        return self.attend(q, k, v, bias), k.mean(dim=1)


@MODELS.register_module()
class ToMeDeiT(CAITDeiT):
    """DeiT with ToMe's merging; maps are restored by giving every patch the token it was merged into, and with
    ``restore_mode='residual'`` its difference from that token too.

    Args:
        r: Tokens merged in every block, or ``((block, count), ...)``; ``'half'`` merges as many as can be.
        **keywords: As :class:`CAITDeiT`, without ``merge``.

    Raises:
        UserError: ``merge`` was given, or ``r`` names a block that is not there.
    """

    def __init__(self, r: int | Sequence[tuple[int, Merged]] = 13, **keywords: Any) -> None:
        if keywords.get('merge'):
            raise UserError('ToMeDeiT merges by similarity: leave merge out, r says how many tokens.')
        super().__init__(**keywords)
        self.r = self._per_block(r)

    def _per_block(self, r: Any) -> dict[int, Merged]:
        """``r`` as tokens by block.

        Raises:
            UserError: It is neither a count nor pairs of a block and a count, or a block does not exist.
        """
        how = 'give a count of tokens, or pairs of a block and a count or \'half\''
        if r == 'half' or (isinstance(r, Integral) and not isinstance(r, bool)):
            r = dict.fromkeys(range(self.arch.depth), r)
        try:
            counts = dict(r)
        except (TypeError, ValueError):
            raise UserError(f'r={r!r}: {how}.') from None
        for block, count in counts.items():
            if isinstance(block, bool) or not isinstance(block, Integral) or not 0 <= block < self.arch.depth:
                raise UserError(f'r names block {block}: {self.arch.name} has blocks 0 to {self.arch.depth - 1}.')
            if count != 'half' and (isinstance(count, bool) or not isinstance(count, Integral) or count < 0):
                raise UserError(f'r={count!r} tokens before block {block}: {how}.')
        return counts

    def _block(self, index: int, residual_scale: float = 1.) -> Block:
        block, spec = super()._block(index, residual_scale), self.spec.blocks[index]
        block.attn = ToMeAttention(self.arch.embed_dim, spec.num_heads, spec.qk_dim, spec.v_dim, spec.head_dim,
                                   self.arch.qkv_bias)
        return block

    def _stream(self, x: Tensor) -> Iterator[tuple[Tensor, Grid, Tensor | None]]:
        for tokens, source, grid, lost in self._merging(x):
            yield unmerge(tokens, source), grid, lost

    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Grid]:
        """As :class:`CAITDeiT`, but the tokens are the merged ones, CLS first, and the grid is the full one."""
        tokens, _, grid, _ = last(self._merging(x))
        return tokens if self.norm is None else self.norm(tokens), grid

    def _merging(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor, Grid, Tensor | None]]:
        """After every block: its tokens, where each of the first block's tokens is among them, the grid, and with
        ``restore_mode='residual'`` the map of the differences that the merges took from every patch.
        """
        x, grid = self._embed(x)
        source = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        size = lost = None
        for index, block in enumerate(self.blocks):
            branch, metric = block.attn(block.norm1(x), size)
            x = x + block.drop_path(branch)
            count = self.r.get(index, 0)
            if count:
                count = x.shape[1] if count == 'half' else count
                matching = match(metric.detach(), count, bool(self.num_cls))
                size = torch.ones_like(x[..., :1]) if size is None else size
                before, source_before = x, source
                source = matching.places(x.shape[1]).gather(1, source)
                total = matching.merge(size)
                x, size = matching.merge(x * size) / total, total
                if self.restore_mode == 'residual':
                    full = (unmerge(before, source_before), unmerge(x, source))
                    lost = self._lost(lost, *((tokens[:, self.num_cls:], grid) for tokens in full), grid)
            x = x + block.drop_path(block.mlp(block.norm2(x)))
            yield x, source, grid, lost


def unmerge(tokens: Tensor, source: Tensor) -> Tensor:
    """Give every one of the first tokens the one that it ended in: tokens (B, N, C), places (B, M) -> (B, M, C)."""
    return tokens.gather(1, _wide(source, tokens))


def _wide(index: Tensor, x: Tensor) -> Tensor:
    """(B, N) as an index of tokens of ``x`` (B, M, C)."""
    return index[..., None].expand(-1, -1, x.shape[-1])
