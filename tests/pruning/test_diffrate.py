"""Learned counts: their gradients against definitions, the masked model against one that drops, and the budget."""
import pytest
import torch
from slow_blocks import lively
from torch import nn

from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost, reduction
from cait_mm.models import Classifier
from cait_mm.models.deit import DeiT
from cait_mm.models.lvvit import LVViT
from cait_mm.pruning.diffrate import Count, Learning, fitted, learn_counts, masked_softmax
from cait_mm.spec import make_spec
from cait_mm.tokens import DiffRate

ARCH = dict(embed_dim=48, depth=5, num_heads=3, img_size=(80, 112))
PATCHES = 35


def classifier(tokens=None) -> Classifier:
    torch.manual_seed(0)
    return Classifier(lively(DeiT(ARCH, tokens=tokens, out_indices=(4,), final_norm=True)), num_classes=7).eval()


def counting(*patches: int) -> nn.ModuleList:
    """Counts that are certain."""
    counts = nn.ModuleList(Count(PATCHES, 1) for _ in patches)
    for count, left in zip(counts, patches):
        count.scores.data[PATCHES - left] = 50.
    return counts


def learning(kept, merged) -> Classifier:
    model = classifier().requires_grad_(False)
    model.backbone.spec = model.spec.replace(tokens=Learning(counting(*kept), counting(*merged)))
    return model


@pytest.mark.parametrize('granularity', [1, 4])
def test_a_count_is_the_expectation_rounded_up_with_its_gradient(granularity):
    count = Count(PATCHES, granularity)
    nn.init.normal_(count.scores)
    candidates = torch.arange(PATCHES, 0, -granularity)
    chances = torch.softmax(count.scores, 0)
    expected = sum(chance * candidate for chance, candidate in zip(chances, candidates))
    assert int(count()) == -int(-expected // 1)
    torch.testing.assert_close(*(torch.autograd.grad(value, count.scores, retain_graph=True)[0]
                                 for value in (count(), expected)))


def test_a_mask_has_the_gradient_of_the_probability_that_a_token_stays():
    count = Count(PATCHES, 4)
    nn.init.normal_(count.scores)
    mask = count.mask(12, 30, PATCHES)
    torch.testing.assert_close(mask.detach(), torch.tensor([1.] * 12 + [0.] * 18 + [1.] * 5))
    for token in (0, 11, 12, 20, 34):
        chance = sum(chance for chance, kept in zip(count.scores.softmax(0), count.candidates) if token < kept)
        torch.testing.assert_close(*(torch.autograd.grad(value, count.scores, retain_graph=True)[0]
                                     for value in (mask[token], chance)))


def test_masked_tokens_are_not_attended_to_and_see_themselves():
    logits, mask = torch.randn(2, 3, 9, 9), torch.ones(2, 9)
    torch.testing.assert_close(masked_softmax(logits, mask), logits.softmax(-1), atol=1e-5, rtol=1e-5)
    mask[:, 6:] = 0
    weights = masked_softmax(logits, mask)
    torch.testing.assert_close(weights[:, :, :6, :6], logits[:, :, :6, :6].softmax(-1), atol=1e-5, rtol=1e-5)
    assert weights[:, :, 7, 7].min() > 1e-3 and weights[:, :, 7, 8].max() < 1e-5


@torch.no_grad()
def test_where_tokens_are_only_dropped_the_masked_model_is_the_one_that_drops():
    kept, all_of_them = (35, 29, 31, 12, 5), (35, ) * 5
    images = torch.randn(3, 3, 80, 112)
    masked = learning(kept, all_of_them)(images)
    tokens = DiffRate(tuple(count + 1 for count in kept), (36, ) * 5, of=36)
    torch.testing.assert_close(masked, classifier(tokens)(images), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(masked, classifier()(images), atol=1e-2)


@pytest.mark.parametrize('kept, merged', [((35, 29, 31, 12, 5), (33, 27, 20, 12, 3)), ((35, ) * 5, (35, ) * 5)])
def test_macs_are_those_of_the_reducer_and_follow_the_counts(kept, merged):
    model = learning(kept, merged)
    tokens = model.spec.tokens.found(36, 'structured')
    assert tokens == DiffRate(tuple(count + 1 for count in kept), tuple(count + 1 for count in merged), 36)
    macs = classifier_cost(model.spec).macs
    exact = classifier_cost(model.spec.replace(tokens=tokens)).macs
    assert exact <= float(macs) <= exact + 5 * 36 * 48  # CLS's second product counts in all blocks
    (macs / 1e6).backward()
    for counts in (model.spec.tokens.kept, model.spec.tokens.merged):
        assert all(count.scores.grad is not None for count in counts)


@pytest.mark.parametrize('labelled', [False, True])
def test_what_is_learned_keeps_the_budget(labelled):
    model, images = classifier(), [torch.randn(2, 3, 80, 112) for _ in range(2)]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = [(item, torch.tensor([1, 2])) for item in images] if labelled else images
    shares = []
    found = learn_counts(model, batches, 0.3, 12, weight=1e6, lr=0.1, granularity=3, restore='unstructured',
                         progress=lambda step, share: shares.append(share))
    assert len(shares) == 12 and abs(shares[-1] - 0.3) < 0.1
    assert found.kept[0] == found.merged[0] == found.of == 36 and found.restore == 'unstructured'
    assert 0.3 <= reduction(model.spec.replace(tokens=found)) < 0.36
    assert all(parameter.requires_grad for parameter in model.parameters()) and model.spec.tokens is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_loss_moves_the_counts_not_only_the_budget():
    model = classifier()
    images = [torch.randn(4, 3, 80, 112)]
    with_loss, again = (learn_counts(model, images, 0.3, 8, weight=0., lr=0.3, granularity=3) for _ in range(2))
    assert with_loss == again
    assert len(set(with_loss.kept[1:])) > 1


def test_counts_are_moved_no_farther_than_they_must_be():
    spec = make_spec('deit_small')
    start = DiffRate((197, ) + (150, ) * 11, (197, ) + (140, ) * 11)
    found = fitted(spec, start, 0.4, (224, 224))
    more = DiffRate(tuple(min(count + 1, 197) for count in found.kept),
                    tuple(min(count + 1, 197) for count in found.merged))
    assert reduction(spec.replace(tokens=found)) >= 0.4 > reduction(spec.replace(tokens=more))
    with pytest.raises(UserError, match='target'):
        fitted(spec, start, 0.99, (224, 224))


def test_what_cannot_be_learned_is_a_sentence():
    images = [torch.randn(1, 3, 80, 112)]
    with pytest.raises(UserError, match='reduces tokens already'):
        learn_counts(classifier(dict(type='ToMe', r=1)), images, 0.3, 1)
    lvvit = Classifier(LVViT(dict(ARCH, stem_dim=2), out_indices=(4,), final_norm=True), num_classes=7)
    with pytest.raises(UserError, match='reads all tokens'):
        learn_counts(lvvit, images, 0.3, 1)
