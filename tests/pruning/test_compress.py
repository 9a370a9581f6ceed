"""Compression without training, from Python: a classifier in, a smaller classifier out."""
import math

import pytest
import torch
from conftest import FAMILIES
from torch import nn

from cait_mm.arch import get_arch
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Classifier, classifier_backbone, load_classifier
from cait_mm.pruning.compress import compress
from cait_mm.spec import Spec, make_spec


def dense_classifier(family, channels=3):
    arch = get_arch({**FAMILIES[family]['arch'], 'in_channels': channels}, family)
    model = Classifier(classifier_backbone(Spec.dense(arch)), num_classes=5, provenance={'source': 'mine'}).eval()
    for name, parameter in model.named_parameters():
        if 'norm' not in name:
            nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize('family', FAMILIES)
def test_a_classifier_becomes_a_smaller_one_that_can_be_saved(family, tmp_path):
    model, merge = dense_classifier(family), FAMILIES[family]['merge']
    before = {name: value.clone() for name, value in model.state_dict().items()}
    target = reduction(make_spec(model.spec.arch, merge)) + 0.1
    small = compress(model, [torch.randn(4, 3, 64, 64) for _ in range(2)], target, merge, pad_to=0)
    assert type(small) is Classifier and not small.training
    assert target <= reduction(small.spec) < target + 0.05
    assert small.spec.merges == make_spec(model.spec.arch, merge).weighted().merges
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), 'the model is kept'
    small.save(tmp_path / 'small.pth')
    again, images = load_classifier(tmp_path / 'small.pth'), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images), small(images)) and small(images).shape == (2, 5)
    assert again.spec == small.spec and again.provenance == small.provenance
    wanted = dict(source='mine', target=target, start='calibrated', calibration_images=8)
    assert wanted.items() <= small.provenance.items()


def test_merges_are_those_given_or_the_models_or_chosen_for_the_target():
    model, images, merge = dense_classifier('deit'), [torch.randn(2, 3, 64, 64)], ((1, 'horizontal'), )
    assert compress(model, images, 0.4).spec.merges
    assert not compress(model, images, 0.2, merge=()).spec.merges
    merged = compress(model, images, reduction(make_spec(model.spec.arch, merge)), merge, pad_to=0)
    assert merged.spec == make_spec(model.spec.arch, merge).weighted(), 'merging alone reaches the target'
    assert compress(merged, images, 0.5).spec.merges == merged.spec.merges


def test_every_means_can_be_switched_off():
    model, images, merge = dense_classifier('deit'), [torch.randn(4, 3, 64, 64)], ((1, 'horizontal'), )
    whole = compress(model, images, 0.4, merge)
    plain = compress(model, images, 0.4, merge, weighted=False)
    assert plain.spec.merges == make_spec(model.spec.arch, merge).merges
    unproportional = compress(model, images, 0.4, merge, proportional=False).backbone.merges['1']
    assert unproportional.proportion == 0 and whole.backbone.merges['1'].proportion == 1
    means = compress(model, images, 0.4, merge, ridge=math.inf)
    assert means.spec == whole.spec and not torch.equal(means(images[0]), whole(images[0]))


def test_images_of_four_channels_and_of_three():
    model = dense_classifier('deit', channels=4)
    small = compress(model, [torch.randn(2, 4, 64, 64)], 0.4)
    assert small.spec.arch.in_channels == 4 and small(torch.randn(1, 4, 64, 64)).shape == (1, 5)
    with pytest.raises(UserError, match='images have 3 channels and custom takes 4'):
        compress(model, [torch.randn(2, 3, 64, 64)], 0.4)


def test_a_pruned_model_is_refused():
    images = [torch.randn(2, 3, 64, 64)]
    small = compress(dense_classifier('deit'), images, 0.3, merge=())
    with pytest.raises(UserError, match='pruned already'):
        compress(small, images, 0.6)
