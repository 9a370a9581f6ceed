"""Evo-ViT against its description written out token by token, and the papers' MACs."""
import pytest
import torch
from slow_blocks import attended, embedded, fed, lively

from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models import Classifier
from cait_mm.models.base import last
from cait_mm.models.deit import DeiT
from cait_mm.spec import make_spec
from cait_mm.tokens import EvoViT

ARCH = dict(embed_dim=24, depth=6, num_heads=3, img_size=(64, 80))
"""4 x 5 patches, of which a share of 0.35 is 7."""


def by_hand(model, image, keep, at, tradeoff, fast, pool):
    """The patches behind every block, and the vector that a classifier reads, of one image: slow tokens go through the
    blocks; the others wait, or are changed by what blocks add to the token that stands for them.
    """
    cls, *patches = embedded(model, image)
    count, slow, representative, evolved, behind = len(patches), None, [], None, []
    for index, block in enumerate(model.blocks):
        if index in at:
            slow = sorted(range(count), key=lambda patch: -evolved[patch])[:max(1, int(count * keep))]
            others = [patch for patch in range(count) if patch not in slow]
            total = sum(evolved[patch] for patch in others)
            representative = [sum(evolved[patch] / total * patches[patch] for patch in others)] if fast else []
        going = list(range(count)) if slow is None else slow
        x, attention = attended(block, torch.stack([cls, *(patches[patch] for patch in going), *representative]))
        cls, *tokens = fed(block, x)
        seen = dict(zip(going, attention[:, 0, 1:].mean(0).tolist()))
        if slow is None:
            evolved = seen
        else:
            evolved.update({patch: (1 - tradeoff) * evolved[patch] + tradeoff * seen[patch] for patch in slow})
        for patch, token in zip(going, tokens):
            patches[patch] = token
        if representative:
            for patch in others:
                patches[patch] = patches[patch] + (tokens[-1] - representative[0])
            representative = [tokens[-1]]
        behind.append(torch.stack(patches))
    read = torch.stack(patches).mean(0) if pool == 'mean' else cls
    return behind, model.norm(read)


@pytest.mark.parametrize('settings', [
    dict(), dict(keep=0.35, at=(2, 4), tradeoff=0.3), dict(keep=0.35, at=(1, 3, 5), fast=True, pool='cls'),
    dict(keep=0.01, at=(5, )), dict(keep=1., at=(2, ), pool='cls')], ids=str)
@torch.no_grad()
def test_it_is_the_one_written_out(settings):
    settings = {'keep': 0.5, 'at': (2, 4), 'tradeoff': 0.5, 'fast': False, 'pool': 'mean', **settings}
    model = lively(DeiT(ARCH, tokens=dict(type='EvoViT', **settings), out_indices=(5,), final_norm=True))
    images = torch.randn(2, 3, 64, 80)
    streamed = [tokens.spread() for tokens in model._stream(images)]
    for item, image in enumerate(images):
        behind, read = by_hand(model, image[None], **settings)
        for own, expected in zip(streamed, behind):
            torch.testing.assert_close(own[item].flatten(1).T, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.pool(model.forward_tokens(images)[0])[item], read, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_classifier_reads_all_patches_in_their_order_and_keeping_all_is_deit():
    image = torch.randn(2, 3, 64, 80)
    dense = DeiT(ARCH, out_indices=(5,)).eval()
    model = DeiT(ARCH, tokens=EvoViT(keep=0.4, at=(2, 4)), out_indices=(5,)).eval()
    tokens, grid = model.forward_tokens(image)
    torch.testing.assert_close(tokens[:, 1:].transpose(1, 2).unflatten(2, grid), last(model._stream(image)).spread())
    whole = DeiT(ARCH, tokens=EvoViT(keep=1., at=(2, 4), pool='cls'), out_indices=(5,)).eval()
    whole.load_state_dict(dense.state_dict())
    torch.testing.assert_close(whole.forward_tokens(image)[0], dense.forward_tokens(image)[0], atol=1e-5, rtol=1e-5)


def test_gradients_pass_placeholders_and_their_representative():
    model = Classifier(DeiT(ARCH, tokens=EvoViT(keep=0.4, at=(2, 4), fast=True), out_indices=(5,), final_norm=True), 7)
    model.train()(torch.randn(2, 3, 64, 80)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize('arch, giga', [('deit_tiny', 0.82), ('deit_small', 3.0), ('deit_base', 11.7)])
def test_its_macs_are_the_papers(arch, giga):
    """DeiT-S's 3.0 G; those of the other two are what fvcore counts in its code."""
    macs = classifier_cost(make_spec(arch, tokens=dict(type='EvoViT'))).macs
    assert macs / 1e9 == pytest.approx(giga, abs=0.05)


@pytest.mark.parametrize('settings, words', [
    (dict(keep=0), 'keep=0'), (dict(keep=1.5), 'keep'), (dict(at=(0, 4)), 'from 1 on'), (dict(at=()), 'from 1 on'),
    (dict(at=4), 'at=4'), (dict(tradeoff=2), 'tradeoff'), (dict(fast=1), 'True or False'),
    (dict(pool='max'), 'mean, cls'), (dict(at=(4, 6)), 'has blocks 0 to 5')])
def test_bad_settings_are_a_sentence(settings, words):
    with pytest.raises(UserError, match=words):
        DeiT(ARCH, tokens=dict(type='EvoViT', **settings))


def test_it_needs_cls():
    with pytest.raises(UserError, match='CLS'):
        DeiT(ARCH, tokens=dict(type='EvoViT', at=(2, )), out_indices=(5,), with_cls_token=False)
