import copy
import math

import pytest
import torch
from conftest import FAMILIES
from mmengine.registry import MODELS
from torch import nn

from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.pruning.calibrate import add_calibrated_compactors, calibrate, start_norms
from cait_mm.pruning.compensate import RIDGE, compensate
from cait_mm.pruning.fold import channel_scores, fold, removable
from cait_mm.pruning.selection import select


def random_backbone(family):
    model = MODELS.build(dict(FAMILIES[family], out_indices=(-1,), final_norm=True)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def backbone():
    return random_backbone('deit')


@pytest.fixture
def images():
    return [torch.randn(4, 3, 64, 64) for _ in range(3)]


def output(model, image):
    with torch.no_grad():
        return model.forward_tokens(image)[0]


@pytest.mark.parametrize('family', FAMILIES)
def test_full_width_is_the_same_function(family, images):
    backbone = random_backbone(family)
    before = output(backbone, images[0])
    calibration = calibrate(backbone, images)
    torch.testing.assert_close(output(backbone, images[0]), before, atol=1e-4, rtol=1e-4)
    add_calibrated_compactors(backbone, calibration)
    torch.testing.assert_close(output(backbone, images[0]), before, atol=1e-4, rtol=1e-4)


def test_the_compactors_score_follows_the_importance(backbone, images):
    calibration = calibrate(backbone, images)
    add_calibrated_compactors(backbone, calibration)
    names = ('q', 'k', 'v', 'ffn')
    norms, wanted = (torch.cat([getattr(block, name).flatten() for block in blocks for name in names])
                     for blocks in (channel_scores(backbone), calibration.scores))
    order = wanted.argsort(stable=True)
    assert (norms[order].diff() > -1e-6).all() and norms.min() >= 0.499 and norms.max() <= 1.501
    for block in calibration.scores:
        assert torch.equal(block.q, block.k), 'q and k agree by construction'
        assert (block.q.diff(dim=1) <= 0).all() and (block.v.diff(dim=1) <= 0).all(), 'ordered by contribution'


def test_the_same_channels_go_by_norm_and_by_importance(backbone, images):
    calibration = calibrate(backbone, images)
    for a, b in zip(select(backbone.spec, start_norms(calibration.scores), 0.35),
                    select(backbone.spec, calibration.scores, 0.35)):
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ('q', 'k', 'v', 'ffn'))


def test_channels_of_no_use_are_found(backbone, images):
    with torch.no_grad():  # head 1 of the first block uses three directions for q, the FFN's channel 7 goes nowhere
        weight, bias = backbone.blocks[0].attn.qkv.weight, backbone.blocks[0].attn.qkv.bias
        weight[8 + 3:16] = weight[8:8 + 3].repeat(2, 1)[:5]
        bias[8 + 3:16] = bias[8:8 + 3].repeat(2)[:5]
        backbone.blocks[0].mlp.fc2.weight[:, 7] = 0
    scores = calibrate(backbone, images).scores[0]
    assert (scores.q[1, 3:] < 1e-2 * scores.q[1, 0]).all() and (scores.q[0] > 1e-2 * scores.q[0, 0]).sum() > 3
    assert scores.ffn[7] < 1e-5 and scores.ffn.argmin() == 7


def test_images_of_other_channels_and_none_are_sentences(backbone, images):
    with pytest.raises(UserError, match='images have 4 channels and custom takes 3'):
        calibrate(backbone, [torch.randn(2, 4, 64, 64)])
    with pytest.raises(UserError, match='no images to calibrate on'):
        calibrate(backbone, [])
    four = MODELS.build(dict(FAMILIES['deit'], in_channels=4, out_indices=(-1,), final_norm=True))
    assert calibrate(four, [torch.randn(2, 4, 64, 64), torch.randn(1, 4, 64, 64)]).images == 3


def error_after_cut(backbone, images, calibrated, ridge=RIDGE):
    """Mean squared change of the last map when a third of the MACs is cut."""
    image, model = torch.cat(images), copy.deepcopy(backbone)
    calibration = calibrate(model, images)
    if not calibrated:
        model = copy.deepcopy(backbone)
        for score in calibration.scores:
            for name in ('q', 'k', 'v', 'ffn'):
                nn.init.uniform_(getattr(score, name), 0.5, 1.5)
    add_calibrated_compactors(model, calibration)
    masks = select(model.spec, channel_scores(model), reduction(model.spec) + 0.1)
    folded = fold(model, masks, tolerance=None)
    if ridge is not None:
        cut = [removable(mask, score) for mask, score in zip(masks, channel_scores(model))]
        compensate(folded.backbone, model, cut, calibration.ffn, calibration.values, ridge)
    return (output(folded.backbone, image) - output(backbone, image)).square().mean().item()


@pytest.mark.parametrize('family', FAMILIES)
def test_a_calibrated_cut_hurts_less_than_a_random_one(family, images):
    backbone = random_backbone(family)
    means = error_after_cut(backbone, images, calibrated=True, ridge=math.inf)
    assert means < 0.6 * error_after_cut(backbone, images, calibrated=False, ridge=None)
    assert means < error_after_cut(backbone, images, calibrated=True, ridge=None), 'means in the bias help'
    assert error_after_cut(backbone, images, calibrated=True) < means, 'the channels that stay stand in for the others'
