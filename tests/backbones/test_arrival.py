"""Weights arrive whole, on their own grid, whoever loads them."""
import pytest
import torch
from conftest import FAMILIES
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import load_checkpoint
from mmseg.models.backbones import SwinTransformer as OpenMMLabSwin
from mmseg.models.backbones import VisionTransformer as OpenMMLabViT
from timm.models import SwinTransformer, adapt_input_conv
from torch import nn

from cait_mm.analysis.flops import count_macs, count_params
from cait_mm.backbones import CAITDeiT, CAITSwin
from cait_mm.classification import Classifier
from cait_mm.errors import UserError
from cait_mm.macs import classifier_cost
from cait_mm.models.checkpoint import Checkpoint, read_checkpoint
from cait_mm.models.positions import resize_pos_embed

WIDE, SQUARE = (32, 128), 64
"""2x8 patches and 4x4: as many, on other grids."""


def plain(family='deit', **kwargs):
    return MODELS.build({**FAMILIES[family], 'merge': (), 'out_indices': (0, 1, 2), **kwargs}).eval()


class Model(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.backbone, self.head = plain(**kwargs), nn.Linear(2, 2)


def saved(path, content):
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize('family', ['deit', 'lvvit'])
@pytest.mark.parametrize('way', ['bare', 'stated', 'load_from', 'export'])
def test_as_many_positions_on_another_grid_are_resampled(tmp_path, family, way):
    source, model = plain(family), Model(family=family, img_size=WIDE)
    wanted = resize_pos_embed(source.pos_embed, (4, 4), (2, 8))
    if way == 'load_from':
        path = saved(tmp_path / 'a.pth', {'state_dict': Model(family=family).state_dict(), 'meta': {}})
        wanted = resize_pos_embed(torch.load(path)['state_dict']['backbone.pos_embed'], (4, 4), (2, 8))
        load_checkpoint(model, path)
    else:
        state = source.state_dict() if way == 'stated' else dict(source.state_dict())
        meta = {'cait_spec': source.spec.to_dict()} if way == 'export' else {}
        path = saved(tmp_path / 'a.pth', {'state_dict': state, 'meta': meta})
        model.backbone.load_checkpoint(read_checkpoint(path))
    assert torch.equal(model.backbone.pos_embed, wanted)


def test_files_of_ours_come_back_on_their_grid_and_copies_are_no_other(tmp_path):
    source, model = plain(img_size=WIDE), plain(img_size=WIDE)
    path = saved(tmp_path / 'a.pth', {'state_dict': source.state_dict()})
    assert read_checkpoint(path).grid == (2, 8)
    model.load_checkpoint(read_checkpoint(path))
    assert torch.equal(model.pos_embed, source.pos_embed)
    model = plain(img_size=WIDE)
    model.load_state_dict(dict(source.state_dict()))
    assert torch.equal(model.pos_embed, source.pos_embed)


def test_without_a_stated_grid_a_part_of_a_model_has_the_models_own_and_a_classifier_a_square_one():
    whole, model = Model(img_size=WIDE), Model(img_size=WIDE)
    model.load_state_dict(dict(whole.state_dict()))
    assert torch.equal(model.backbone.pos_embed, whole.backbone.pos_embed)
    square = plain()
    model.backbone.load_state_dict({**square.state_dict(), 'head.weight': torch.zeros(5, 24)}, strict=False)
    assert torch.equal(model.backbone.pos_embed, resize_pos_embed(square.pos_embed, (4, 4), (2, 8)))


@pytest.mark.parametrize('change,message', [
    (lambda w: w.pop('backbone.blocks.1.mlp.fc1.weight'), 'missing: blocks.1.mlp.fc1.weight'),
    (lambda w: w.update({'backbone.blocks.0.norm1.bias': torch.zeros(7)}), 'misshapen: blocks.0.norm1.bias'),
    (lambda w: w.update({'backbone.conv1.weight': torch.zeros(7)}), 'unexpected: conv1.weight'),
    (lambda w: w.update({'backbone.norm.weight': 'x'}), 'backbone.norm.weight in the checkpoint is a str, no tensor'),
    (lambda w: w.update({'backbone.more': [torch.zeros(7)]}), 'backbone.more in the checkpoint is a list, no tensor'),
])
def test_a_backbone_in_parts_is_an_error_for_mmengine(tmp_path, change, message):
    weights = dict(Model().state_dict())
    change(weights)
    with pytest.raises(UserError, match=message):
        load_checkpoint(Model(), saved(tmp_path / 'a.pth', {'state_dict': weights}))


def test_an_export_as_whole_weights_is_told_where_it_belongs(tmp_path):
    path = saved(tmp_path / 'a.pth', {'state_dict': plain().state_dict(), 'meta': {}})
    for model in (Model(), Model()):
        with pytest.raises(UserError, match='without any prefix, as in a compressed .* init_cfg'):
            load_checkpoint(model, path)
        model.backbone.init_weights()  # set or not, a file of another model is one


def test_heads_alone_are_fine_once_the_backbone_has_its_weights():
    model = Model()
    heads = {key: value for key, value in model.state_dict().items() if key.startswith('head')}
    with pytest.raises(UserError, match='nothing has set its weights before'):
        model.load_state_dict(heads, strict=False)
    model.backbone.init_weights()
    model.load_state_dict(heads, strict=False)


def test_a_prefix_picks_the_backbone_and_unknown_keys_of_init_cfg_are_refused(tmp_path):
    student, teacher = plain(), plain()
    state = {**{f'backbone.{k}': v for k, v in student.state_dict().items()},
             **{f'teacher.backbone.{k}': v for k, v in teacher.state_dict().items()}}
    init_cfg = dict(type='Pretrained', checkpoint=saved(tmp_path / 'a.pth', {'state_dict': state}))
    for prefix, source in ((None, student), ('teacher.backbone', teacher), ('teacher.', teacher)):
        model = plain(init_cfg=[dict(init_cfg, prefix=prefix, map_location='cpu')])
        model.init_weights()
        assert torch.equal(model.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)
    for wrong in (dict(init_cfg, revise_keys=[]), [init_cfg, init_cfg], dict(type='Kaiming'), 'file.pth',
                  dict(init_cfg, map_location='nowhere'), dict(init_cfg, prefix=3)):
        with pytest.raises(UserError, match='init_cfg'):
            plain(init_cfg=wrong)
    with pytest.raises(UserError, match="holds nothing under 'ema.'"):
        plain(init_cfg=dict(init_cfg, prefix='ema')).init_weights()


@pytest.mark.parametrize('kwargs', [
    dict(out_indices=()), dict(out_indices=99), dict(out_indices='1'), dict(out_indices=(1, 1)),
    dict(out_indices=(1.,)), dict(out_indices=True), dict(img_size='224'), dict(img_size=(1, 2, 3)),
    dict(img_size=2.5), dict(img_size=-1), dict(img_size=0), dict(img_size=True), dict(img_size=10**9),
    dict(img_size=(64, None)), dict(in_channels=0), dict(in_channels='4'), dict(drop_path_rate=2),
    dict(drop_path_rate=-1), dict(drop_path_rate=float('nan')), dict(drop_path_rate='0.1'), dict(with_cp=2),
    dict(frozen_stages='1'), dict(frozen_stages=-2), dict(frozen_stages=99), dict(final_norm='no'),
    dict(restore_mode=['nearest']), dict(restore_mode='area')])
@pytest.mark.parametrize('family', FAMILIES)
def test_wrong_arguments_are_a_sentence(family, kwargs):
    with pytest.raises(UserError, match=next(iter(kwargs))):
        plain(family, **kwargs)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('channels', [1, 4, 7])
def test_other_channels_are_adapted_as_timm_does(family, channels, tmp_path):
    source, model = plain(family, out_indices=-1), plain(family, out_indices=-1, in_channels=channels)
    model.load_checkpoint(Checkpoint('a.pth', dict(source.state_dict())))
    state = model.state_dict()
    assert torch.equal(state[model.stem_key], adapt_input_conv(channels, source.state_dict()[model.stem_key]))
    path = saved(tmp_path / 'a.pth', {'state_dict': state, 'meta': {'cait_spec': model.spec.to_dict()}})
    again = plain(family, out_indices=-1, init_cfg=dict(type='Pretrained', checkpoint=path))
    again.init_weights()
    assert again.arch.in_channels == channels and torch.equal(again(torch.ones(1, channels, 64, 64))[0],
                                                              model(torch.ones(1, channels, 64, 64))[0])
    with pytest.raises(UserError, match=f'set in_channels={channels}'):
        source.load_checkpoint(Checkpoint('a.pth', dict(state)))


def test_tables_of_stages_smaller_than_a_window_compute_as_in_timm():
    # Stages of 16, 8, 4 and 2 tokens a side under a window of 4: the last has a table of window 2.
    sizes = dict(embed_dim=16, depths=(1, 1, 2, 2), num_heads=(1, 2, 2, 4))
    theirs = SwinTransformer(img_size=64, patch_size=4, window_size=4, num_classes=0, **sizes).eval()
    for name, value in theirs.named_parameters():
        nn.init.normal_(value, std=0.3 if 'table' in name else 0.1)
    ours = CAITSwin(dict(sizes, window_size=4, img_size=64), out_indices=3, final_norm=True).eval()
    ours.load_checkpoint(Checkpoint('timm', dict(theirs.state_dict())))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_tokens(image)[0], theirs.forward_features(image).flatten(1, 2),
                                   atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('family', FAMILIES)
def test_macs_of_other_channels_are_fvcores(family):
    model = Classifier({**FAMILIES[family], 'in_channels': 4}, num_classes=5).eval()
    cost = classifier_cost(model.backbone.spec, num_classes=5)
    assert cost.macs == count_macs(model, (torch.randn(1, 4, 64, 64),))['']
    assert cost.params == count_params(model)


def test_whole_swins_load_under_official_and_openmmlab_names():
    theirs = OpenMMLabSwin(embed_dims=16, depths=(1, 2, 3, 1), num_heads=(1, 2, 2, 4), window_size=4)
    theirs.eval()
    model = Model(family='swin', out_indices=(0, 1, 2, 3))
    state = {f'backbone.{key}': value for key, value in theirs.state_dict().items()}
    state.update({key: value for key, value in model.state_dict().items() if key.startswith('head')})
    model.load_state_dict(state, strict=True)  # its relative_position_index is computed here
    image = torch.randn(1, 3, 512, 512)  # all grids are larger than a window
    with torch.no_grad():
        for a, b in zip(model.backbone(image), theirs(image)):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    state = model.state_dict()
    state['backbone.layers.1.blocks.1.attn_mask'] = torch.zeros(4, 16, 16)
    state['backbone.layers.1.blocks.1.attn.relative_position_index'] = torch.zeros(16, 16)
    model.load_state_dict(state, strict=True)


@torch.no_grad()
@pytest.mark.parametrize('kind', ['CAITViT', 'CAITDeiT'])
@pytest.mark.parametrize('cls', [True, False])
def test_whole_models_with_openmmlabs_vit_load_strictly(tmp_path, kind, cls):
    """As segmentors of MMSegmentation, whose blocks and norm behind the outputs are not built here. Their 2x8 positions
    belong to as many patches as here, not to the 4x4 of the pretraining."""
    sizes = dict(norm_cfg=dict(type='LN', eps=1e-6), final_norm=True, with_cls_token=cls)
    theirs = OpenMMLabViT(img_size=WIDE, embed_dims=24, num_layers=4, num_heads=3, out_indices=(1, 2, 3), **sizes)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs.eval()
    model = Model(type=kind, arch=dict(embed_dim=24, depth=4, num_heads=3, img_size=(SQUARE, SQUARE)), img_size=WIDE,
                  out_indices=(1, 2), with_cls_token=cls).eval()
    head = {key: value for key, value in model.state_dict().items() if key.startswith('head')}
    weights = {**{f'backbone.{key}': value for key, value in theirs.state_dict().items()}, **head}
    load_checkpoint(model, saved(tmp_path / 'a.pth', {'state_dict': weights}), strict=True)
    image = torch.randn(2, 3, *WIDE)
    for ours, wanted in zip(model.backbone(image), theirs(image)):
        torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-4)
    del weights['backbone.layers.1.ffn.layers.1.weight']
    with pytest.raises(UserError, match='missing: blocks.1.mlp.fc2.weight'):
        load_checkpoint(model, saved(tmp_path / 'a.pth', {'state_dict': weights}))


def test_a_head_that_is_more_than_linear_is_refused_and_a_backbone_says_so(tmp_path):
    weights = {**plain(final_norm=True).state_dict(), 'head.weight': torch.zeros(5, 24), 'head.bias': torch.zeros(5),
               'pre_logits.fc.weight': torch.zeros(24, 24)}
    path = saved(tmp_path / 'a.pth', weights)
    assert 'representation layer pre_logits' in str(plain().load_checkpoint(read_checkpoint(path)))
    config = {**FAMILIES['deit'], 'merge': ()}
    with pytest.raises(UserError, match='has pre_logits before its head'):
        Classifier(config, num_classes=5).load_pretrained(path)
    Classifier(config, num_classes=3, new_head=True).load_pretrained(path)


def test_one_number_is_one_output():
    assert CAITDeiT(FAMILIES['deit']['arch'], out_indices=1).out_indices == (1,)


def merged(**kwargs):
    return plain(merge=FAMILIES['deit']['merge'], **kwargs)


def test_inference_builds_stand_in_widths_and_takes_the_trained_ones_from_the_state_dict():
    trained = merged(qk_dim=[8, 3, 5], v_dim=[4, 8, 2], ffn_dim=[96, 40, 11])
    stand_in = torch.nn.ModuleDict({'backbone': merged(qk_dim=6, v_dim=6, ffn_dim=60)})
    stand_in.load_state_dict({f'backbone.{key}': value for key, value in trained.state_dict().items()})
    assert stand_in['backbone'].spec == trained.spec
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(stand_in['backbone'](image), trained(image)):
            assert torch.equal(a, b)


def test_once_weights_are_set_a_state_dict_of_other_widths_is_an_error():
    # An optimizer may hold the parameters by then: replacing them would silently train nothing.
    model = merged()
    model.init_weights()
    with pytest.raises(UserError, match='misshapen: .* Its channel widths are not this backbone\'s'):
        model.load_state_dict(merged(v_dim=4).state_dict())


@pytest.mark.parametrize('shape', [(), (5,), (1, 1), (10**4, 24), (72, 300)])
def test_an_impossible_block_on_mmengines_way_in_is_a_sentence_or_its_own_list(shape):
    model = Classifier({**FAMILIES['deit'], 'merge': ()}, num_classes=5)
    weights = {**model.state_dict(), 'backbone.blocks.0.attn.qkv.weight': torch.ones(shape)}
    with pytest.raises((UserError, RuntimeError), match='attn.qkv.weight'):
        model.load_state_dict(weights)
