"""DynamicViT against its description written out token by token, in use and in training, and the paper's MACs."""
import pickle
from copy import deepcopy

import pytest
import torch
from predicted import ARCH, check, drawn, model_of

from cait_mm.classification.classifier import Classifier
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models.deit import DeiT
from cait_mm.spec import make_spec
from cait_mm.tokens import DynamicViT
from cait_mm.tokens.dynamicvit import masked_softmax

SETTINGS = [dict(at=(1, 2), keep=0.7, restore='structured'), dict(at=(0, 3), keep=0.3, restore='unstructured')]


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@torch.no_grad()
def test_in_use_it_is_the_one_written_out(settings):
    check(model_of(settings), torch.randn(2, 3, 64, 80), settings)


@pytest.mark.parametrize('settings', SETTINGS, ids=str)
@torch.no_grad()
def test_training_is_as_if_the_tokens_that_were_drawn_were_taken_away(settings):
    model, images = model_of(settings).train(), torch.randn(2, 3, 64, 80)
    stays = drawn(model, images)
    assert all(0 < sum(stage) < 20 for item in stays for stage in item)
    check(model, images, settings, stays)


def test_masked_tokens_are_seen_by_themselves_alone_and_have_gradients():
    logits, stays = torch.randn(1, 2, 3, 3), torch.tensor([[1., 0., 1.]], requires_grad=True)
    attention = masked_softmax(logits, stays)
    expected = torch.stack([
        torch.stack([row[[0, 2]].softmax(0)[0], torch.tensor(0.), row[[0, 2]].softmax(0)[1]]) if index != 1 else
        row.softmax(0) for head in logits[0] for index, row in enumerate(head)]).view(2, 3, 3)
    torch.testing.assert_close(attention[0], expected, atol=2e-6, rtol=1e-5)
    attention[0, :, 0, 2].sum().backward()
    assert stays.grad[0, 0] == 0 and stays.grad[0, 1] < 0 < stays.grad[0, 2]


@pytest.mark.parametrize('kind', ['DynamicViT', 'dTPS'])
@pytest.mark.parametrize('distilled', [True, False])
def test_a_classifier_learns_the_share_that_stays(kind, distilled):
    keep = (0.6, 0.5)
    tokens = dict(type=kind, at=(1, 2), keep=keep, ratio_weight=3)
    model = Classifier(dict(type='CAITDeiT', arch=ARCH, tokens=tokens), 7)
    if distilled:
        model.distillation = type('Teacher', (), dict(alpha=0.5, __call__=lambda self, *_: torch.tensor(0.)))()
    images, labels = torch.randn(4, 3, 64, 80), torch.arange(4)
    stays = drawn(model.train().backbone, images)
    torch.manual_seed(3)
    losses = model(images, labels, mode='loss')
    shares = torch.tensor(stays).float().mean(-1)
    expected = 3 * sum(((shares[:, stage] - share) ** 2).mean() for stage, share in enumerate(keep)) / 2
    ratio = losses.pop('loss_ratio')
    torch.testing.assert_close(ratio, expected)
    last = model.backbone.tokens['2'].out_conv[-1].weight
    assert torch.autograd.grad(ratio, last, retain_graph=True)[0].any()
    assert set(losses) == ({'loss_label', 'loss_teacher'} if distilled else {'loss'})
    sum(losses.values()).backward()
    for predictor in model.backbone.tokens.values():
        assert all(parameter.grad.any() for parameter in predictor.parameters())
    copy = pickle.loads(pickle.dumps(deepcopy(model).backbone.tokens))
    assert copy['1'].share is None and model.backbone.tokens['1'].share is not None


def test_where_no_token_stays_nothing_breaks():
    model = model_of(dict(at=(1, 2))).train()
    with torch.no_grad():
        model.tokens['1'].out_conv[-1].bias.copy_(torch.tensor([-1e4, 1e4]))
    output, = model(torch.randn(2, 3, 64, 80))
    output.square().mean().backward()
    assert output.isfinite().all() and model.tokens['1'].in_conv[1].weight.grad.isfinite().all()


@pytest.mark.parametrize('arch, macs', [('deit_tiny', 804_555_168), ('deit_small', 2_987_611_968)])
def test_its_macs_are_those_of_its_code(arch, macs):
    """As fvcore counts them there (raoyongming/DynamicViT, commit 1322e62); the paper says 2.9 G for DeiT-S."""
    assert classifier_cost(make_spec(arch, tokens=dict(type='DynamicViT'))).macs == macs
    shares = DynamicViT(keep=(0.7, 0.7 ** 2, 0.7 ** 3))
    assert classifier_cost(make_spec(arch, tokens=shares)).macs == macs


@pytest.mark.parametrize('settings, words', [
    (dict(keep=0), 'keep=0'), (dict(keep=(0.5, 0.4)), 'each of the 3 blocks'), (dict(keep='all'), 'keep'),
    (dict(keep=(0.5, 0.6, 0.4)), 'none above'), (dict(at=(1, 1)), 'at='),
    (dict(restore='unmerge'), 'structured, unstructured'), (dict(ratio_weight=-1), 'ratio_weight=-1'),
    (dict(ratio_weight=float('nan')), 'ratio_weight'), (dict(at=(3, 4)), 'has blocks 0 to 3')])
def test_bad_settings_are_a_sentence(settings, words):
    with pytest.raises(UserError, match=words):
        DeiT(ARCH, tokens=dict(type='DynamicViT', **settings))
