"""dTPS against its description written out token by token, in use and in training, and the paper's MACs."""
import math

import pytest
import torch
from predicted import ARCH, check, drawn, model_of

from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models.deit import DeiT
from cait_mm.spec import make_spec
from cait_mm.tokens.dtps import absorb

SETTINGS = [dict(at=(1, 2), keep=0.7, restore='structured'), dict(at=(0, 2, 3), keep=0.6, restore='unmerge'),
            dict(at=(2, 3), keep=0.3, restore='unstructured')]


def squeeze(left, dropped):
    """Every token that stays becomes a mean with those that go and are nearest to it; says which one that is."""
    cosine = torch.nn.functional.cosine_similarity
    nearest = {patch: max(left, key=lambda kept: cosine(token, left[kept], dim=0).item())
               for patch, token in dropped.items()}
    before = dict(left)
    for kept, own in before.items():
        weights = {patch: math.exp(cosine(token, own, dim=0).item()) for patch, token in dropped.items()
                   if nearest[patch] == kept}
        total = math.e + sum(weights.values())
        left[kept] = (math.e * own + sum(weight * dropped[patch] for patch, weight in weights.items())) / total
    return nearest


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@torch.no_grad()
def test_in_use_it_is_the_one_written_out(settings):
    check(model_of(settings, 'dTPS'), torch.randn(2, 3, 64, 80), settings, absorb=squeeze)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@torch.no_grad()
def test_training_is_as_if_the_tokens_that_were_drawn_were_squeezed_into_the_others(settings):
    model, images = model_of(settings, 'dTPS').train(), torch.randn(2, 3, 64, 80)
    stays = drawn(model, images)
    assert all(0 < sum(stage) < 20 for item in stays for stage in item)
    check(model, images, settings, stays, absorb=squeeze)


def test_decisions_to_go_have_gradients():
    """With the slope that an exponential mean has in how much of a token goes."""
    x = torch.tensor([[[1., 0.], [0.6, 0.8], [0., 1.]]])
    stays, goes = torch.tensor([[[1.], [0.], [1.]]]), torch.tensor([[[0.], [1.], [0.]]], requires_grad=True)
    joined, nearest = absorb(x, x, stays, goes)
    assert nearest.tolist() == [[2, 2, 0]]  # never itself: what else could a token go to
    weight = math.exp(0.8)
    torch.testing.assert_close(joined[0, 2], (math.e * x[0, 2] + weight * x[0, 1]) / (math.e + weight))
    torch.testing.assert_close(joined[0, :2], x[0, :2])
    joined[0, 2, 0].backward()
    slope = math.exp(0.8) * 1.8  # of g * exp(0.8 g) at g = 1
    assert goes.grad[0, 1, 0].item() == pytest.approx(0.6 * slope * math.e / (math.e + weight) ** 2, rel=1e-5)


@pytest.mark.parametrize('arch, giga', [('deit_tiny', 0.81), ('deit_small', 2.99)])
def test_its_macs_are_the_papers(arch, giga):
    """0.8 G and 3.0 G. Its code multiplies by a matrix of weights too, where tokens are added to places here: fvcore
    counts 0.810 and 2.998 G there.
    """
    macs = classifier_cost(make_spec(arch, tokens=dict(type='dTPS'))).macs
    assert macs / 1e9 == pytest.approx(giga, abs=0.005)


def test_bad_settings_are_a_sentence():
    with pytest.raises(UserError, match='structured, unstructured, unmerge'):
        DeiT(ARCH, tokens=dict(type='dTPS', restore='nearest'))
