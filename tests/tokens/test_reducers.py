"""What every token reducer promises: data in a spec, dense maps, MACs in closed form, and a fold that keeps it."""
import json

import pytest
import torch

from cait_mm.analysis.flops import count_macs
from cait_mm.backbones import CAITDeiT
from cait_mm.errors import UserError
from cait_mm.macs import backbone_cost, classifier_cost
from cait_mm.models import Classifier
from cait_mm.models.base import last
from cait_mm.models.deit import DeiT
from cait_mm.models.lvvit import LVViT
from cait_mm.models.vit import ViT
from cait_mm.pruning.compress import compress
from cait_mm.pruning.imitate import imitate_classifier
from cait_mm.spec import Spec, make_spec
from cait_mm.tokens import REDUCERS

ARCH = dict(embed_dim=24, depth=6, num_heads=3, img_size=(96, 96))
SETTINGS = {
    'ToMe': dict(r=3),
    'ToMe, halving': dict(type='ToMe', r=((1, 'half'), (4, 'half'))),
    'ToMe, linear': dict(type='ToMe', r=2, linear=(0, 3)),
    'EViT': dict(keep=0.7, at=(1, 3), restore='unmerge'),
    'EViT, mask token': dict(type='EViT', keep=0.45, at=(0, 2, 5), fuse=False, restore='unstructured'),
    'LFE': dict(kept=(36, 33, 33, 20, 9, 0), of=36),
    'LFE, mask token': dict(type='LFE', kept=(30, 25, 20, 15, 10, 5), of=36, cutoff=0.5, restore='unstructured'),
    'DiffRate': dict(kept=(37, 35, 30, 24, 24, 6), merged=(37, 33, 25, 20, 12, 3), of=37),
    'DiffRate, mask token': dict(type='DiffRate', kept=(30, 40, 20, 20, 2, 2), merged=(40, 20, 30, 3, 2, 2), of=37,
                                 restore='unstructured'),
    'EvoViT': dict(keep=0.4, at=(2, 4)),
    'EvoViT, fast, cls': dict(type='EvoViT', at=(1, 3, 5), fast=True, pool='cls'),
    'DynamicViT': dict(at=(1, 3)),
    'DynamicViT, unstructured': dict(type='DynamicViT', keep=(0.8, 0.45, 0.1), at=(0, 2, 4), restore='unstructured'),
    'dTPS': dict(at=(1, 3)),
    'dTPS, unmerge': dict(type='dTPS', keep=0.5, at=(0, 2, 4), restore='unmerge'),
    'dTPS, unstructured': dict(type='dTPS', keep=0.6, at=(2, ), restore='unstructured'),
}
TOKENS = [dict(dict(type=name), **settings) for name, settings in SETTINGS.items()]
"""Every reducer, in its forms."""
each = pytest.mark.parametrize('tokens', TOKENS, ids=list(SETTINGS))


def test_every_reducer_is_here():
    assert {tokens['type'] for tokens in TOKENS} == set(REDUCERS) - {'STViTR'}  # Swin's, in test_stvitr.py


@each
def test_a_spec_holds_it(tokens):
    spec = make_spec(ARCH, tokens=tokens)
    assert Spec.from_json(spec.to_json()) == spec and spec.tokens == type(spec.tokens)(**{
        key: value for key, value in tokens.items() if key != 'type'})
    assert json.loads(spec.to_json())['tokens']['type'] == tokens['type']
    assert 'tokens' not in make_spec(ARCH).to_dict()


@each
@pytest.mark.parametrize('size', [(96, 96), (64, 112), (90, 50)])
@torch.no_grad()
def test_maps_have_the_dense_shapes(tokens, size):
    model, dense = (DeiT(ARCH, out_indices=(0, 2, 5), **more).eval() for more in (dict(tokens=tokens), {}))
    image = torch.randn(2, 3, *size)
    maps = model(image)
    assert [item.shape for item in maps] == [item.shape for item in dense(image)]
    assert all(item.isfinite().all() for item in maps)


@each
@pytest.mark.parametrize('size', [(96, 96), (64, 112)])
def test_macs_and_parameters_are_those_of_the_modules(tokens, size):
    """fvcore's count of the real modules, extra products of the reducer included."""
    backbone = DeiT(ARCH, tokens=tokens, out_indices=(5,), img_size=(96, 96)).eval()
    assert backbone_cost(backbone.spec, size).macs == count_macs(backbone, (torch.rand(1, 3, *size),))['']
    model = Classifier(DeiT(ARCH, tokens=tokens, out_indices=(5,), final_norm=True), num_classes=7).eval()
    cost = classifier_cost(model.backbone.spec, num_classes=7)
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())
    assert cost.macs == count_macs(model, (torch.rand(1, 3, 96, 96),))['']


@each
@torch.no_grad()
def test_the_other_plain_families_have_it(tokens):
    image = torch.randn(2, 3, 64, 64)
    lvvit = LVViT(dict(ARCH, embed_dim=48, stem_dim=2), tokens=tokens, out_indices=(5,)).eval()
    registers = ViT(dict(ARCH, init_values=1e-1, reg_tokens=2), tokens=tokens, out_indices=(5,)).eval()
    for model in (lvvit, registers):
        maps, = model(image)
        assert maps.shape[-2:] == (4, 4) and maps.isfinite().all()
    assert torch.equal(registers(image)[0][0], registers(image[:1])[0][0]) or torch.allclose(
        registers(image)[0][0], registers(image[:1])[0][0], atol=1e-5)


@each
def test_gradients_reach_what_is_learned(tokens):
    model = DeiT(ARCH, tokens=tokens, out_indices=(2, 5)).train()
    sum(item.square().mean() for item in model(torch.randn(2, 3, 96, 96))).backward()
    assert all(parameter.grad is not None for parameter in model.tokens.parameters())
    assert model.blocks[0].attn.qkv.weight.grad.abs().sum() > 0


@each
def test_recomputed_blocks_give_the_same_gradients(tokens):
    image, models = torch.randn(2, 3, 64, 112), [DeiT(ARCH, tokens=tokens, out_indices=(2, 5), with_cp=with_cp).train()
                                                 for with_cp in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        torch.manual_seed(0)  # of the Gumbel noise
        sum(item.square().mean() for item in model(image)).backward()
    for one, other in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(one.grad, other.grad)


@each
@torch.no_grad()
def test_channels_are_cut_and_folded_under_it(tokens, tmp_path):
    model = Classifier(DeiT(ARCH, tokens=tokens, out_indices=(5,), final_norm=True), num_classes=7).eval()
    images = torch.randn(8, 3, 96, 96)
    small = compress(model, [images], target=1 - 0.8 * (1 - saved(model)))
    assert small.backbone.spec.tokens == model.backbone.spec.tokens and small.backbone.spec.is_pruned
    small.save(tmp_path / 'small.pth')
    loaded = CAITDeiT(spec=small.backbone.spec, out_indices=(5,), final_norm=True, init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'small.pth'))).eval()
    loaded.init_weights()
    tokens_behind = [last(backbone._stream(images[:2])).x for backbone in (small.backbone, loaded)]
    torch.testing.assert_close(*tokens_behind)


def saved(model: Classifier) -> float:
    spec = model.backbone.spec
    return 1 - classifier_cost(spec, num_classes=7).macs / classifier_cost(Spec.dense(spec.arch), num_classes=7).macs


@pytest.mark.parametrize('tokens, words', [
    ('ToMe', 'write dict'), (dict(r=3), 'write dict'), (dict(type='Nobody'), 'use ToMe'), (dict(type=[]), 'use ToMe'),
    (dict(type='ToMe', rr=3), 'unknown keys'), (dict(type='ATME'), 'merge='),
])
def test_an_unknown_reducer_is_a_sentence(tokens, words):
    with pytest.raises(UserError, match=words):
        DeiT(ARCH, tokens=tokens)


@each
def test_it_is_refused_where_it_cannot_be(tokens):
    with pytest.raises(UserError, match='leave merge out'):
        DeiT(ARCH, tokens=tokens, merge=((1, 'horizontal'),))
    for arch in ('swin_tiny', 'vit_small_patch16_dinov3', 'beit_base_patch16_224'):
        with pytest.raises(UserError, match='on a grid'):
            make_spec(arch, tokens=tokens)
    with pytest.raises(UserError, match='has blocks 0 to 0'):
        make_spec(dict(ARCH, depth=1), tokens=dict(type='ToMe', r=((4, 1),)))


@each
def test_a_dense_teacher_can_be_imitated(tokens):
    teacher, student = (Classifier(DeiT(ARCH, out_indices=(5,), final_norm=True, **more), num_classes=7)
                        for more in ({}, dict(tokens=tokens)))
    loss, distance = imitate_classifier(student.train(), teacher.eval(), torch.randn(2, 3, 96, 96))
    more = sum(student.backbone.spec.reducer.losses(student.backbone.tokens).values())
    torch.testing.assert_close(loss, distance + more)
    loss.backward()
    loss, distance = imitate_classifier(student.eval(), teacher, torch.randn(2, 3, 96, 96))
    assert loss.isfinite() and torch.equal(loss, distance)
