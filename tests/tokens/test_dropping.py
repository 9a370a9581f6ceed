"""Dropping, several times in a row, against one patch after another followed by hand."""
from itertools import product

import pytest
import torch

from cait_mm.tokens.base import Tokens
from cait_mm.tokens.dropping import MASK, RESTORES, MaskToken, keep

GRID, DIM, BATCH = (3, 5), 4, 2


class Patch:
    """Where a patch is among the tokens, or what it has left."""

    def __init__(self, token: int) -> None:
        self.token, self.own, self.last = token, True, None

    def drop(self, x, stay, restore, mask, stands_for):
        """``stay``: the indices of the tokens that stay, in their new order; ``stands_for``: of the others, the new
        index of what stands for them.
        """
        if self.token in stay:
            self.token = stay.index(self.token)
            return
        if restore != 'unmerge' and self.own:
            self.own, self.last = False, x[self.token] if restore == 'structured' else mask
        self.token = stands_for(self.token)

    def value(self, x):
        return x[self.token] if self.own else self.last


@pytest.mark.parametrize('prefix, restore', [*product((0, 1, 3), RESTORES)])
@pytest.mark.parametrize('fuses', [(1, 1, 1, 1), (0, 0, 0, 0), (0, 2, 0, 1)])
def test_maps_are_those_of_patches_followed_by_hand(prefix, restore, fuses):
    """Tokens change between the drops, fused ones may be dropped again."""
    generator = torch.Generator().manual_seed(prefix)
    mask = MaskToken(DIM)
    torch.nn.init.normal_(mask.token)
    tokens = Tokens(torch.randn(BATCH, prefix + 15, DIM, generator=generator), prefix, GRID, GRID)
    followed = [[Patch(prefix + place) for place in range(15)] for _ in range(BATCH)]
    for kept, fused in zip((11, 11, 6, 2), fuses):
        x, count = tokens.x, tokens.x.shape[1] - prefix
        stay = torch.stack([torch.randperm(count, generator=generator)[:kept] for _ in range(BATCH)])
        new = torch.randn(BATCH, fused, DIM, generator=generator) if fused else None
        into = torch.randint(kept + fused, (BATCH, count), generator=generator) if fused != 1 else None
        tokens = keep(tokens, stay, restore, {MASK: mask} if restore == 'unstructured' else {}, new, into)
        for item, patches in enumerate(followed):
            order = [*range(prefix), *(stay[item] + prefix).tolist()]
            rows = [x[item, token] for token in order] + ([] if new is None else [*new[item]])
            assert torch.equal(tokens.x[item], torch.stack(rows))

            def stands_for(token, item=item, into=into, kept=kept):
                return prefix + (kept if into is None else int(into[item, token - prefix]))

            for patch in patches:
                patch.drop(x[item], order, restore, mask.token[0, 0], stands_for)
        tokens = tokens._replace(x=tokens.x + torch.randn(tokens.x.shape, generator=generator))  # a block
        maps = tokens.spread().flatten(2)
        for item, patches in enumerate(followed):
            assert torch.equal(maps[item].T, torch.stack([patch.value(tokens.x[item]) for patch in patches]))


def test_maps_of_tokens_that_stay_in_another_order_are_the_same():
    tokens = Tokens(torch.randn(2, 16, DIM), 1, GRID, GRID)
    stay = torch.stack([torch.randperm(15) for _ in range(2)])
    for restore in ('structured', 'unmerge'):
        assert torch.equal(keep(tokens, stay, restore, {}).spread(), tokens.spread())


def test_nothing_is_noted_where_no_maps_are_wanted():
    tokens = Tokens(torch.randn(2, 16, DIM), 1, GRID, GRID, maps=False)
    left = keep(tokens, torch.tensor([[3, 1], [0, 14]]), 'structured', {})
    assert left.record is None and torch.equal(left.x[1], tokens.x[1, [0, 1, 15]])


def test_gradients_reach_the_mask_token_and_the_tokens_that_were_dropped():
    mask = MaskToken(DIM)
    x = torch.randn(2, 16, DIM, requires_grad=True)
    stay = torch.tensor([[3, 1], [0, 14]])
    keep(Tokens(x, 1, GRID, GRID), stay, 'unstructured', {MASK: mask}).spread().sum().backward()
    assert torch.equal(mask.token.grad, torch.full((1, 1, DIM), 2 * 13.)) and not x.grad[0, 6].any()
    x.grad = None
    keep(Tokens(x, 1, GRID, GRID), stay, 'structured', {}).spread().sum().backward()
    assert torch.equal(x.grad[:, 1:], torch.ones(2, 15, DIM))
