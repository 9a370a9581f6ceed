"""The family of plain ViTs: DeiT as a special case, tokens in front of the grid, rotary positions under merges."""
import json

import pytest
import timm
import torch
from conftest import plain_classifier
from mmengine.registry import MODELS
from torch import nn

import cait_mm
from cait_mm.arch import ARCHS, get_arch
from cait_mm.arch.timm_names import timm_arch
from cait_mm.errors import UserError
from cait_mm.models import Classifier, ViT, classifier_backbone, load_classifier
from cait_mm.models.checkpoint import Checkpoint, read_checkpoint
from cait_mm.spec import Spec, make_spec

MERGE = ((1, 'horizontal'), (2, 'vertical'))
TINY = dict(embed_dim=24, depth=3, num_heads=3, img_size=(64, 64))
DINO = dict(TINY, reg_tokens=4, pos_embed=False, init_values=0.1, ffn='swiglu', global_pool='avg',
            rope=dict(type='dinov3', temperature=100., rotate_half=True))
SIGLIP = dict(TINY, class_token=False, global_pool='map', fc_norm=True)
DISTILLED = dict(TINY, dist_token=True)


def shaken(model):
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    return model.eval()


def classifier(arch, merge=MERGE, **options):
    return shaken(Classifier(classifier_backbone(make_spec(arch, merge, family='vit'), **options), num_classes=5))


def both(merge):
    """The same random weights in a DeiT-T and in the plain ViT of its size."""
    old = shaken(Classifier(classifier_backbone(make_spec('deit_tiny', merge)), num_classes=5))
    fields = {key: value for key, value in ARCHS['deit_tiny'].to_dict().items() if key not in ('family', 'mlp_ratio')}
    new = Classifier(classifier_backbone(make_spec(fields, merge, family='vit')), num_classes=5).eval()
    assert {key: value.shape for key, value in new.state_dict().items()} == {
        key: value.shape for key, value in old.state_dict().items()}
    new.load_state_dict(old.state_dict())
    return old, new


@torch.no_grad()
@pytest.mark.parametrize('merge', [(), ((3, 'horizontal'), (7, 'vertical_weighted'), (9, 'diagonal'))])
def test_deit_is_the_special_case_of_the_defaults(merge):
    old, new = both(merge)
    image = torch.randn(2, 3, 224, 224)
    assert torch.equal(new(image), old(image))


@torch.no_grad()
def test_real_deit_weights_give_equal_logits_on_both_paths(deit_tiny):
    old = load_classifier(deit_tiny, 'deit_tiny')
    new = load_classifier(deit_tiny, 'timm/deit_tiny_patch16_224.fb_in1k')
    image = torch.randn(2, 3, 224, 224)
    assert torch.equal(new(image), old(image))


@pytest.mark.parametrize('name,fields', [
    ('timm/vit_small_patch14_dinov2', dict(patch_size=14, img_size=[518, 518], init_values=1e-5)),
    ('vit_small_patch16_224.dino', {}),
    ('vit_base_patch16_clip_224.openai', dict(norm_eps=1e-5, pre_norm=True)),
])
def test_an_architecture_is_what_timm_builds_under_its_name(name, fields):
    state = torch.get_rng_state()
    described = get_arch(name).to_dict()
    sizes = (described.pop('embed_dim'), described.pop('depth'), described.pop('num_heads'))
    assert sizes == ((768, 12, 12) if 'base' in name else (384, 12, 6))
    assert described == {'family': 'vit', 'name': name.removeprefix('timm/'), **fields}
    assert torch.equal(torch.get_rng_state(), state), 'describing a model draws no numbers'


@pytest.mark.parametrize('name,message', [
    ('vit_relpos_small_patch16_224', 'its positions are a network or a table of offsets'),
    ('samvit_base_patch16', 'its attention is in windows'),
    ('vit_base_r50_s16_224', 'its patches come from a convolutional network'),
    ('naflexvit_base_patch16_gap', 'it packs images of several shapes'),
    ('resnet18', 'it is no plain ViT'),
    ('vit_small_patch14_dinov2.nothing', 'its weights have the tags vit_small_patch14_dinov2.lvd142m'),
    ('vit_enormous', 'unknown architecture'),
    ('hf-hub:timm/vit_small_patch14_dinov2', 'unknown architecture'),
])
def test_other_names_are_refused_in_a_sentence(name, message):
    with pytest.raises(UserError, match=message) as error:
        get_arch(name)
    assert '\n' not in str(error.value)


def test_the_front_door_takes_a_model_of_timm(tmp_path):
    overrides = dict(embed_dim=24, depth=2, num_heads=3)
    theirs = timm.create_model('deit_tiny_distilled_patch16_224', **overrides, num_classes=7)
    shaken(theirs)
    torch.save(theirs.state_dict(), tmp_path / 'a.pth')
    arch = timm_arch('deit_tiny_distilled_patch16_224', **overrides)
    ours, image = cait_mm.load(arch, tmp_path / 'a.pth'), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match='no weights are named for vit_small_patch14_dinov2'):
        cait_mm.load('vit_small_patch14_dinov2')


@torch.no_grad()
@pytest.mark.parametrize('arch', [DINO, SIGLIP, DISTILLED, dict(TINY, block='parallel', qk_norm=True)],
                         ids=['dinov3', 'siglip', 'distilled', 'parallel'])
def test_a_saved_classifier_describes_itself(tmp_path, arch):
    model, image = classifier(arch), torch.randn(2, 3, 64, 64)
    model.save(tmp_path / 'a.pth')
    again = load_classifier(tmp_path / 'a.pth')
    assert again.spec == model.spec and torch.equal(again(image), model(image))
    dense = ViT(spec=model.spec, out_indices=(0, 2), final_norm=True).eval()
    dense.load_checkpoint(read_checkpoint(tmp_path / 'a.pth'))
    assert torch.equal(dense(image)[1], model.backbone(image)[0])


def test_a_spec_names_what_is_not_the_default():
    data = make_spec(DINO, MERGE, family='vit').to_dict()
    assert data['arch'] == {'family': 'vit', 'name': 'custom', 'embed_dim': 24, 'depth': 3, 'num_heads': 3,
                            'img_size': [64, 64], 'reg_tokens': 4, 'pos_embed': False, 'init_values': 0.1,
                            'ffn': 'swiglu', 'global_pool': 'avg',
                            'rope': {'type': 'dinov3', 'temperature': 100., 'rotate_half': True}}
    assert Spec.from_json(json.dumps(data)).to_dict() == data


@pytest.mark.parametrize('fields,message', [
    (dict(block='sideways'), "block='sideways': use one of pre, post, parallel"),
    (dict(ffn='relu'), "ffn='relu'"), (dict(class_token=False), 'class_token=False: global_pool'),
    (dict(qk_norm=1), 'qk_norm=1: give True or False'), (dict(reg_tokens=-1), 'reg_tokens=-1 must be'),
    (dict(rope=dict(type='spiral')), "rope type='spiral'"), (dict(rope=dict(speed=3)), 'unknown keys speed'),
    (dict(rope=5), 'rope=5 is no mapping'), (dict(rope={}, num_heads=4), 'multiple of 4 channels'),
    (dict(block='post', init_values=1.), 'no LayerScale'), (dict(attn_head_dim=0), 'attn_head_dim=0 must be'),
    (dict(global_pool='map', attn_pool_num_heads=5), 'not divisible by the 5 heads'),
])
def test_the_impossible_is_refused_by_name(fields, message):
    with pytest.raises(UserError, match=message):
        get_arch({**TINY, **fields}, family='vit')


@pytest.mark.parametrize('arch', [DINO, SIGLIP, DISTILLED, dict(TINY, rope=dict(type='mixed'), pre_norm=True)],
                         ids=['dinov3', 'siglip', 'distilled', 'mixed'])
def test_every_parameter_gets_a_gradient(arch):
    """DDP would wait for one without; a classifier has the pooling, maps do not pass it."""
    image = torch.randn(2, 3, 64, 64)
    model, dense = classifier(arch).train(), ViT(arch, MERGE, out_indices=(0, 1)).train()
    model(image).square().sum().backward()
    sum(item.square().sum() for item in dense(image)).backward()
    for module in (model, dense):
        assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


@torch.no_grad()
def test_registers_stay_where_cls_is_left_out():
    arch = dict(TINY, reg_tokens=2, dist_token=True)
    full = classifier(arch).backbone
    less = ViT(arch, MERGE, with_cls_token=False, out_indices=(1, 2)).eval()
    assert full.num_cls == 4 and less.num_cls == 2
    weights = dict(full.state_dict())
    report = less.load_checkpoint(Checkpoint('full', dict(weights), full.spec, grid=full.grid))
    assert {'cls_token', 'dist_token'} <= set(report.unused)
    assert torch.equal(less.pos_embed, weights['pos_embed'][:, 2:]) and torch.equal(less.reg_token, full.reg_token)
    assert [tuple(item.shape) for item in less(torch.randn(1, 3, 70, 64))] == [(1, 24, 5, 4)] * 2
    again = ViT(arch, MERGE, with_cls_token=False, out_indices=(1, 2)).eval()
    again.load_checkpoint(Checkpoint('less', dict(less.state_dict()), less.spec, grid=less.grid))
    assert torch.equal(again.pos_embed, less.pos_embed)


@torch.no_grad()
@pytest.mark.parametrize('arch', [DINO, dict(TINY, rope=dict(type='mixed'), reg_tokens=1)], ids=['dinov3', 'mixed'])
def test_tokens_that_were_merged_turn_with_the_mean_of_their_places(arch):
    model, turned = classifier(arch, ((1, 'horizontal'), (2, 'vertical'))).backbone, []
    model.rope.register_forward_pre_hook(lambda _, given: turned.append(given[0]))
    model.forward_tokens(torch.randn(1, 3, 64, 64))
    places = model.rope.coordinates((4, 4))
    pairs = places.unflatten(1, (8, 2)).mean(2)
    patches = pairs.unflatten(1, (2, 2, 2)).mean(2).flatten(1, 2)
    assert len(turned) == 3
    for found, wanted in zip(turned, (places, pairs, patches)):
        torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_halves_of_a_wide_image_are_its_patches_under_dinov3s_positions():
    """Its places run from -1 to 1 whatever the grid: pairs of a grid that is twice as wide stand where its patches do.
    """
    dense, merged = (classifier(DINO, merge).backbone for merge in ((), ((0, 'horizontal'), )))
    merged.load_state_dict({**merged.state_dict(), **dense.state_dict()})
    merged.merges['0'].reset_parameters()
    image = torch.randn(1, 3, 64, 64)
    wide = image.unflatten(-1, (4, 16)).repeat_interleave(2, -2).flatten(-2)
    torch.testing.assert_close(merged.forward_tokens(wide)[0], dense.forward_tokens(image)[0], atol=1e-4, rtol=1e-4)


def test_layers_and_freezing_cover_everything_in_front_of_the_blocks():
    arch = dict(DINO, pos_embed=True, pre_norm=True, rope=dict(type='mixed'))
    model = ViT(arch, MERGE, out_indices=(2, ), frozen_stages=1, final_norm=True, drop_path_rate=0.5).train()
    layers = {name: model.get_layer_depth(name)[0] for name, _ in model.named_parameters()}
    front = {'cls_token', 'reg_token', 'pos_embed', 'norm_pre.weight', 'norm_pre.bias', 'rope.freqs',
             'patch_embed.proj.weight'}
    assert {name for name, layer in layers.items() if layer == 0} == front
    assert layers['norm.weight'] == 4 and layers['merges.1.fuse.weight'] == 2
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name for name in frozen if not name.startswith('blocks.0.')} == front
    assert not model.norm_pre.training and not model.blocks[0].training and model.blocks[1].training


@torch.no_grad()
def test_the_registered_backbone_takes_timms_name():
    config = dict(type='CAITViT', arch='vit_small_patch16_dinov3', merge=((4, 'horizontal'), (7, 'vertical')))
    maps = MODELS.build(config).eval()(torch.randn(1, 3, 130, 96))
    assert [tuple(item.shape) for item in maps] == [(1, 384, 9, 6)] * 4


@torch.no_grad()
def test_the_registered_classifier_pools_as_the_architecture_says():
    config = dict(type='CAITViT', arch=SIGLIP, merge=MERGE)
    model = shaken(MODELS.build(dict(type='Classifier', backbone=config, num_classes=5)))
    plain = classifier(SIGLIP)
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if 'data_pre' not in key})
    image = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(image), plain(image))
    with pytest.raises(UserError, match='build its backbone with pooling=True'):
        ViT(SIGLIP, out_indices=-1).pool(torch.randn(1, 16, 24))


def test_deits_path_says_where_other_tokens_are_known(tmp_path):
    weights = classifier(DISTILLED, ()).backbone.state_dict()
    torch.save(dict(weights), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='name its architecture as timm does, such as deit_small_distilled_patch16_224'):
        plain_classifier('deit').backbone.load_checkpoint(read_checkpoint(tmp_path / 'a.pth'))


@torch.no_grad()
def test_beit_weights_of_other_sizes_and_of_its_pretraining_are_read(tmp_path):
    """At another size timm resamples the tables on loading, as the authors do; pretraining shares one table."""
    sizes = dict(embed_dim=24, depth=2, num_heads=3, num_classes=5)
    theirs = shaken(timm.create_model('beit_base_patch16_224', **sizes))
    arch = timm_arch('beit_base_patch16_224', embed_dim=24, depth=2, num_heads=3)
    larger = timm.create_model('beit_base_patch16_224', **sizes, img_size=(320, 256)).eval()
    weights = {**theirs.state_dict(), 'rel_pos_bias.relative_position_index': torch.zeros(1)}
    larger.load_state_dict(timm.models.beit.checkpoint_filter_fn(theirs.state_dict(), larger))
    ours = Classifier(classifier_backbone(Spec.dense(arch), img_size=(320, 256)), num_classes=5).eval()
    ours.load_checkpoint(Checkpoint('timm', dict(weights), foreign=True))
    image = torch.randn(2, 3, 320, 256)
    torch.testing.assert_close(ours(image), larger(image), atol=1e-5, rtol=1e-5)

    tables = [f'blocks.{block}.attn.relative_position_bias_table' for block in range(2)]
    shared = {key: value for key, value in weights.items() if key not in tables}
    shared['rel_pos_bias.relative_position_bias_table'] = weights[tables[0]]
    alike = {**weights, **dict.fromkeys(tables, weights[tables[0]])}
    logits = []
    for state in (shared, alike):
        model = Classifier(classifier_backbone(Spec.dense(arch)), num_classes=5).eval()
        model.load_checkpoint(Checkpoint('beit', dict(state), foreign=True))
        logits.append(model(image[..., :224, :224]))
    assert torch.equal(*logits)

    pretraining = {key: value for key, value in shared.items() if not key.startswith(('head.', 'fc_norm.'))}
    pretraining.update({'mask_token': torch.zeros(1, 1, 24), 'lm_head.weight': torch.zeros(8, 24),
                        'norm.weight': torch.ones(24), 'norm.bias': torch.zeros(24)})
    torch.save({'model': pretraining}, tmp_path / 'beit.pth')
    backbone = cait_mm.backbone(arch, tmp_path / 'beit.pth', out_indices=(0, 1))
    assert torch.equal(backbone.blocks[1].attn.relative_position_bias_table, weights[tables[0]])
