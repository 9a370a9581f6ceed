"""Compression without training, from Python: a classifier in, a smaller classifier out."""
import math

import pytest
import torch
from conftest import FAMILIES, plain_backbone
from timed import steps_of, table_of
from torch import nn

from cait_mm.arch import get_arch
from cait_mm.errors import UserError
from cait_mm.macs import reduction
from cait_mm.models import Classifier, classifier_backbone, load_classifier
from cait_mm.pruning.compress import Compression, compress, compress_inside
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


@pytest.mark.parametrize('search', [0, 3])
@pytest.mark.parametrize('family', FAMILIES)
def test_a_budget_of_time_is_kept(family, search):
    model, images = dense_classifier(family), [torch.randn(4, 3, 64, 64) for _ in range(4)]
    table = table_of(model.spec.arch, other=0.01)
    small = compress(model, images, 0.45, latency=table, search=search)
    assert table.saved(small.spec) >= 0.45 and small.spec.is_pruned
    assert all(block.ffn_dim % 8 == 0 and block.qk_dim == block.v_dim for block in small.spec.blocks)
    assert small.provenance['latency'] == table.prediction(small.spec)
    assert small(images[0]).shape == (4, 5)
    with pytest.raises(UserError, match='out of reach'):
        compress(model, images, 0.98, latency=table)


def test_steps_that_a_device_does_not_reward_are_not_taken():
    arch = get_arch(dict(embed_dim=96, depth=3, num_heads=3, img_size=(64, 64)))
    model, images = Classifier(classifier_backbone(Spec.dense(arch)), 5).eval(), [torch.randn(8, 3, 64, 64)]
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    coarse = table_of(arch, attention=steps_of(16), other=0.01)
    widths = [block.qk_dim for block in compress(model, images, 0.6, (), latency=coarse).spec.blocks]
    assert all(width % 16 == 0 for width in widths) and min(widths) < 32


def test_a_table_of_another_model_and_other_paddings_are_refused():
    model, images = dense_classifier('deit'), [torch.randn(4, 3, 64, 64)]
    with pytest.raises(UserError, match='measure one for it'):
        compress(model, images, 0.4, latency=table_of('deit_tiny'))
    with pytest.raises(UserError, match='a classifier, custom, at 64x64; the model'):
        compress_inside(nn.Sequential(model.backbone), images, Compression(0.4, latency=table_of(model.spec.arch)),
                        (64, 64))
    for pad_to in (0, 4):
        with pytest.raises(UserError, match=f'pad_to={pad_to}'):
            compress(model, images, 0.4, pad_to=pad_to, latency=table_of(model.spec.arch))


def test_the_backbone_of_any_module_has_a_budget_of_time():
    backbone = plain_backbone('deit', merge=(), out_indices=(0, 2))
    table = table_of(backbone.arch, other=0.01, outputs=(0, 2))
    model, images = nn.Sequential(backbone).eval(), [torch.randn(4, 3, 64, 64)]
    small, folded, provenance = compress_inside(model, images, Compression(0.4, latency=table), (64, 64))
    assert table.saved(folded.spec) >= 0.4 and provenance['latency']['ms'] == table.predict(folded.spec)
    assert small(images[0])[1].shape == model(images[0])[1].shape


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
