"""Every name in timm's modules of plain ViTs, made small: the same features and logits, or one sentence."""
import re
from dataclasses import replace
from functools import cache

import pytest
import timm
import torch
from torch import nn

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.arch import ViTArch, get_arch
from cait_mm.arch.timm_names import MODULES, arch_of
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models import Classifier, ViT, classifier_backbone
from cait_mm.models.checkpoint import Checkpoint
from cait_mm.spec import Spec, make_spec

DIFFERENCE = 'its attention is the difference of two, which have no channels of their own to cut'
SHARED = 'several of its heads share keys and values, and heads lose their channels one by one here'
REFUSED = {
    'vit_dlittle_patch16_reg1_gap_256': DIFFERENCE, 'vit_dpwee_patch16_reg1_gap_256': DIFFERENCE,
    'vit_dwee_patch16_reg1_gap_256': DIFFERENCE, 'vit_large_patch16_sapiens2': SHARED,
    'vit_huge_patch16_sapiens2': SHARED, 'vit_giant_patch16_sapiens2': SHARED, 'vit_5b_patch16_sapiens2': SHARED,
}
NAMES = sorted({name for module in MODULES for name in timm.list_models(module=module)})


def small(name):
    """timm's model of this name with few and narrow blocks, for images that are not square."""
    patch = int((re.findall(r'patch(\d+)', name) or [16])[0])
    heads = {} if 'sapiens2' not in name else dict(num_kv_heads=3 if 'base' in name else 1)
    return timm.create_model(name, embed_dim=48, depth=2, num_heads=3, img_size=(2 * patch, 3 * patch), num_classes=5,
                             **heads).eval()


@torch.no_grad()
def shake(model):
    """Leave nothing at its initial value: norms, scales and biases neither."""
    for name, value in model.named_parameters():
        if value.dim() > 1:
            nn.init.normal_(value, std=value[0].numel()**-0.5 if name.endswith('weight') else 0.5)
        elif name.endswith('weight') or 'gamma' in name:
            nn.init.uniform_(value, 0.5, 1.5)
        else:
            nn.init.normal_(value, std=0.3)


def loaded(theirs, arch):
    """This package's classifier of the same weights."""
    model = Classifier(classifier_backbone(Spec.dense(arch)), num_classes=5).eval()
    model.load_checkpoint(Checkpoint('timm', dict(theirs.state_dict()), foreign=True))
    return model


def apart(ours, theirs):
    """The largest difference, relative to the largest value where that is above 1."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


@torch.no_grad()
@pytest.mark.parametrize('name', [name for name in NAMES if name not in REFUSED])
def test_features_and_logits_are_timms(name):
    theirs = small(name)
    shake(theirs)
    arch = arch_of(name, theirs)
    ours = loaded(theirs, arch)
    image = torch.randn(2, 3, *arch.img_size)
    features = theirs.forward_features(image)
    tokens, grid = ours.backbone.forward_tokens(image)
    assert grid == (2, 3) and apart(tokens, features) < 1e-5
    assert apart(ours.classify(tokens), theirs.forward_head(features)) < 1e-5
    assert get_arch(arch.to_dict()) == arch
    check_form(replace(arch, name='form', patch_size=8, img_size=(16, 24)))


@cache
def check_form(arch: ViTArch):
    """Costs in closed form, and maps of the dense shapes whatever was merged: once for all names of one form."""
    for merge in ((), ((1, 'horizontal_weighted'), )):
        spec = make_spec(arch, merge)
        model = Classifier(classifier_backbone(spec), num_classes=5).eval()
        cost = classifier_cost(spec, num_classes=5)
        assert count_macs(model, (torch.rand(1, 3, *arch.img_size), ))[''] == cost.macs
        assert count_params(model) == cost.params
    merged = ViT(arch, ((0, 'vertical'), (1, 'horizontal')), out_indices=(0, 1)).eval()
    for height, width in ((16, 24), (33, 50), (64, 72)):
        shapes = [tuple(item.shape) for item in merged(torch.randn(1, 3, height, width))]
        assert shapes == [(1, 48, -(-height // 8), -(-width // 8))] * 2


@pytest.mark.parametrize('name', REFUSED)
def test_models_that_cannot_be_are_refused_in_a_sentence(name):
    with pytest.raises(UserError) as error:
        arch_of(name, small(name))
    assert str(error.value) == f'{name} of timm is no model of this package: {REFUSED[name]}.'


@pytest.mark.parametrize('name', ['vit_base_patch16_18x2_224', 'vit_base_patch16_xp_224', 'eva02_base_patch16_clip_224',
                                  'vit_small_patch16_rope_mixed_ape_224'])
def test_damaged_weights_are_one_sentence(name):
    """One for every form of names that is rewritten; each tensor in turn is missing, flat, or short of a row."""
    theirs = small(name)
    model = classifier_backbone(Spec.dense(arch_of(name, theirs)))
    weights = {key: value for key, value in theirs.state_dict().items() if not key.startswith('head.')}
    for key, value in weights.items():
        for other in (None, torch.ones(1), value[:-1]):
            spoilt = {**weights, key: other}
            if other is None or other.shape == value.shape:
                del spoilt[key]
            with pytest.raises(UserError) as error:
                model.load_checkpoint(Checkpoint('a.pth', spoilt, foreign=True))
            assert '\n' not in str(error.value)
