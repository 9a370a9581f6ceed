"""LFE's counts: the walk through the blocks against every count tried, and the budget."""
import itertools

import pytest
import torch
from slow_blocks import lively

from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Classifier
from cait_mm.models.deit import DeiT
from cait_mm.pruning.lfe import bottom_up, search_counts
from cait_mm.tokens import LFE

ARCH = dict(embed_dim=24, depth=4, num_heads=3, img_size=(80, 112))
"""5 x 7 patches."""


def classifier(**options) -> Classifier:
    torch.manual_seed(0)
    return Classifier(lively(DeiT(ARCH, out_indices=(3,), final_norm=True, **options)), num_classes=7).eval()


@pytest.mark.parametrize('allowance', [0., 0.5, 3., 9., 100.])
def test_every_block_keeps_the_fewest_that_its_part_allows(allowance):
    counts, weights = [10, 7, 4, 1], (0.5, 0.1, 0.4)

    def damage(kept):
        return sum(weight * (10 - count) for weight, count in zip(weights, kept))

    kept = bottom_up(damage, counts, 3, allowance)
    for block in range(3):
        allowed = allowance * (block + 1) / 3
        fit = [count for count in counts if count <= min(kept[:block], default=10)
               and damage((*kept[:block], *[count] * (3 - block))) <= allowed]
        assert kept[block] == min(fit, default=min(kept[:block], default=10))


@pytest.mark.parametrize('target', [0.1, 0.35])
def test_counts_save_the_target_and_no_token_more_could_stay(target):
    model, seen = classifier(), []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = search_counts(model, [torch.randn(3, 3, 80, 112), torch.randn(2, 3, 80, 112)], target, 4,
                          lambda *step: seen.append(step), cutoff=0.7)
    assert found.of == 35 and found.cutoff == 0.7 and len(seen) == 8
    assert all(one >= other for one, other in itertools.pairwise(found.kept))
    more = LFE(tuple(min(35, count + 1) for count in found.kept), 35, 0.7)
    saved = [reduction(model.spec.replace(tokens=tokens), (80, 112)) for tokens in (found, more)]
    assert saved[0] >= target > saved[1]
    assert model.spec.tokens is None and all(torch.equal(value, before[name])
                                             for name, value in model.state_dict().items())


def test_what_cannot_be_is_a_sentence():
    images = [torch.randn(2, 3, 80, 112)]
    with pytest.raises(UserError, match='one token in every block'):
        search_counts(classifier(), images, 0.99)
    with pytest.raises(UserError, match='already'):
        search_counts(classifier(merge=((1, 'horizontal'),)), images, 0.3)
    with pytest.raises(UserError, match='granularity'):
        search_counts(classifier(), images, 0.3, granularity=0)
