"""Every score in its place: selection, fold and compensation take any, with labels or without."""
import math
from copy import deepcopy
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest import FAMILIES, plain_backbone
from scored import batches_of, classifier
from timed import table_of
from torch import nn

import cait_mm
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.pruning.calibrate import add_calibrated_compactors, in_own_basis
from cait_mm.pruning.compress import Compression, compress, compress_inside
from cait_mm.pruning.fold import channel_scores, fold, keep_all, removable
from cait_mm.pruning.scores import NAMES, SCORES, lfs, nvit, scored, taylor
from cait_mm.pruning.selection import select
from cait_mm.spec import make_spec

OTHERS = tuple(SCORES)


def dense(family):
    model = classifier(family, merge=()) if family != 'vit' else classifier(family)
    return model.float()


def images(count=2):
    return [torch.randn(4, 3, 64, 64) for _ in range(count)]


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize('name', OTHERS)
@pytest.mark.parametrize('family', [*FAMILIES, 'vit'])
def test_merges_and_any_score_reach_the_target(family, name):
    model = dense(family)
    merge = FAMILIES[family]['merge'] if family in FAMILIES else None
    before, target = state(model), reduction(make_spec(model.spec.arch, merge or model.spec.merges)) + 0.1
    small = compress(model, images(), target, merge, pad_to=0, score=name)
    assert target <= reduction(small.spec) < target + 0.03 and small.spec.merges
    assert small.provenance['start'] == name and small(images()[0]).isfinite().all()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), 'the model is kept'
    assert all(value.grad is None for value in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize('name', OTHERS)
def test_what_is_cut_are_the_channels_of_least_score_in_their_own_basis(name):
    """The fold of a selection by the scores alone: the weights that stay are those of the model, to the bit."""
    model = dense('deit')
    backbone, scores = deepcopy(model.backbone), None
    with torch.enable_grad():
        scores = scored(name, model, [(x.float(), y) for x, y in batches_of(deepcopy(model).double())])
    calibration = in_own_basis(backbone, images(), scores)
    add_calibrated_compactors(backbone, calibration)
    masks = select(backbone.spec, channel_scores(backbone), 0.3)
    by_scores = select(backbone.spec, [type(block)((block.q + block.k) / 2, (block.q + block.k) / 2, block.v, block.ffn)
                                       for block in scores], 0.3)
    assert all(torch.equal(getattr(a, part), getattr(b, part)) for a, b in zip(masks, by_scores)
               for part in ('q', 'k', 'v', 'ffn')), 'ranks choose as the scores do'
    whole, small = fold(backbone, keep_all(backbone), None).backbone, fold(backbone, masks, None).backbone
    own = model.backbone.state_dict()
    assert all(torch.allclose(value, own[key], rtol=1e-5, atol=1e-7) for key, value in whole.state_dict().items())
    zeroed = deepcopy(model.backbone)
    for block, mask, score in zip(zeroed.flat_blocks(), masks, channel_scores(backbone)):
        cut = removable(mask, score)
        assert torch.equal(cut.q, mask.q) and torch.equal(cut.q, cut.k) and len(set(cut.v.sum(1).tolist())) == 1
        block.attn.qkv.weight[~torch.cat([cut.q, cut.k, cut.v]).flatten()] = 0
        block.attn.qkv.bias[~torch.cat([cut.q, cut.k, cut.v]).flatten()] = 0
        block.mlp.fc2.weight[:, ~cut.ffn] = 0
    image = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(small.forward_tokens(image)[0], zeroed.forward_tokens(image)[0], atol=1e-4, rtol=1e-4)


def test_compensation_brings_a_cut_nearer_to_the_model():
    """On the calibration images, for scores that leave channels as they are."""
    model, data = dense('deit'), images(8)
    wanted = torch.cat([model(batch) for batch in data])
    for name in OTHERS:
        errors = [float((torch.cat([small(batch) for batch in data]) - wanted).norm()) for small in (
            compress(model, data, 0.25, (), pad_to=0, score=name, ridge=ridge) for ridge in (1e-2, math.inf))]
        assert errors[0] < errors[1], name


def test_labels_are_the_models_own_predictions_or_those_given():
    model, data = dense('deit').eval(), images()
    with torch.no_grad():
        own = [model(batch).argmax(1) for batch in data]
    choose = partial(cait_mm.compress, model, target=0.3, merge=(), score='taylor', num_images=8)
    alone, same, others = (state(choose(loader, labels=given)) for loader, given in (
        (data, False), (list(zip(data, own)), True), ([(x, (y + 1) % 5) for x, y in zip(data, own)], True)))
    assert all(torch.equal(value, same[key]) for key, value in alone.items())
    assert any(value.shape != others[key].shape or not torch.equal(value, others[key]) for key, value in alone.items())
    ignored = state(choose([(x, (y + 1) % 5) for x, y in zip(data, own)]))
    assert all(torch.equal(value, ignored[key]) for key, value in alone.items()), 'labels are taken only when asked for'
    assert state(choose(list(zip(data, own)), labels=True, score='calibrated')).keys() == alone.keys()


@pytest.mark.parametrize('loader,more,message', [
    ('.', {}, 'a folder holds images alone'),
    ([torch.randn(2, 3, 64, 64)], {}, 'a loader of pairs of tensors'),
    ([(torch.randn(2, 3, 64, 64), None)], {}, 'a loader of pairs of tensors'),
    ([(torch.randn(2, 3, 64, 64), torch.tensor([0, 7]))], {}, 'are no classes'),
    ([(torch.randn(2, 3, 64, 64), torch.zeros(2, 5))], {}, 'are no classes'),
    ([(torch.randn(2, 3, 64, 64), torch.tensor([0, 1]))], dict(merge=None, search=2), 'judges without labels'),
])
def test_labels_that_do_not_fit_are_an_error(loader, more, message):
    with pytest.raises(UserError, match=message):
        cait_mm.compress(dense('deit'), loader, 0.3, **{'merge': (), **more}, score='lfs', labels=True)


def test_a_function_is_a_score_and_an_unknown_name_is_an_error():
    model = dense('deit')

    def last_block(model, batches):
        """Everything but the FFN of the last block matters."""
        ones = [block.map(torch.ones_like) for block in taylor(model, batches)]
        return [*ones[:-1], replace(ones[-1], ffn=ones[-1].ffn * 0)]

    small = compress(model, images(), 0.08, (), pad_to=0, score=last_block)
    assert [block.ffn_dim for block in small.spec.blocks[:2]] == [96, 96] and small.spec.blocks[2].ffn_dim < 60
    assert small.provenance['start'] == 'last_block'
    with_table = partial(nvit, latency=table_of(model.spec.arch))
    assert compress(model, images(), 0.2, (), score=with_table).provenance['start'] == 'nvit'
    with pytest.raises(UserError, match='has to be one of calibrated, magnitude, taylor, lfs, nvit, s2vite, savit'):
        Compression(0.3, score='magic')
    with pytest.raises(UserError, match='not finite'):
        compress(model, images(), 0.3, (), score=lambda *_: [block.map(lambda v: v * math.nan)
                                                             for block in taylor(*_)])
    assert NAMES[0] == 'calibrated' == Compression(0.3).score


@pytest.mark.parametrize('name', ['magnitude', 'lfs', 'savit'])
@pytest.mark.parametrize('given,message', [([], 'no images to calibrate on'),
                                           ([torch.randn(2, 4, 64, 64)], 'images have 4 channels')])
def test_images_that_do_not_fit_are_an_error(name, given, message):
    with pytest.raises(UserError, match=message):
        compress(dense('deit'), given, 0.3, (), score=name)


def test_a_search_judges_with_the_score():
    small = compress(dense('deit'), images(), 0.5, pad_to=0, score='taylor', search=2)
    assert small.provenance['start'] == 'taylor' and len(small.provenance['search']['candidates']) == 2


class Module(nn.Module):
    """Anybody's module: its call gives the logits of one or two heads of pixels, or no tensors."""

    def __init__(self, channels=()):
        super().__init__()
        self.backbone = plain_backbone('deit', merge=(), out_indices=(1, 2))
        self.heads = nn.ModuleList(nn.Conv2d(24, count, 1) for count in channels)

    def forward(self, images):
        maps = self.backbone(images)
        return [head(x) for head, x in zip(self.heads, maps)] if len(self.heads) else dict(maps=maps)


@pytest.mark.parametrize('channels', [(1,), (3, 2)])
@pytest.mark.parametrize('name', OTHERS)
def test_models_of_pixels_are_scored_by_the_logits_of_their_call(channels, name):
    model = Module(channels).eval()
    small, folded, _ = compress_inside(model, images(), Compression(0.2, merge=(), pad_to=0, score=name), (64, 64))
    assert folded.spec.is_pruned and small(images()[0])[0].shape == model(images()[0])[0].shape
    assert all(value.grad is None for value in (*model.parameters(), *small.parameters()))


def test_models_without_logits_have_the_scores_that_need_no_loss():
    model = Module().eval()
    compress_inside(model, images(), Compression(0.2, merge=(), score='magnitude'), (64, 64))
    with pytest.raises(UserError, match='use calibrated or magnitude'):
        compress_inside(model, images(), Compression(0.2, merge=(), score=lfs), (64, 64))
