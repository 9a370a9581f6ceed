import pytest
import timm
import torch
from torch import nn

from cait_mm.errors import UserError
from cait_mm.models import DeiT, Swin
from cait_mm.spec import make_spec

SMALL = dict(embed_dim=24, depth=4, num_heads=3, img_size=(64, 64))
MERGE = ((1, 'horizontal'), (3, 'vertical'))


def small(**kwargs):
    return DeiT(**{'arch': SMALL, 'merge': MERGE, 'out_indices': (0, 1, 2, 3), **kwargs}).eval()


def test_equals_timms_deit_with_the_same_weights():
    theirs = timm.create_model('deit_tiny_patch16_224', pretrained=False).eval()
    ours = DeiT('deit_tiny', out_indices=(2, 11), final_norm=True).eval()
    wanted = {key: value for key, value in theirs.state_dict().items() if not key.startswith('head')}
    ours.load_state_dict(wanted, strict=True)
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        last, (early, final) = theirs.forward_features(image), ours(image)
        tokens, grid = ours.forward_tokens(image)
    torch.testing.assert_close(tokens, last, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(final.flatten(2).transpose(1, 2), last[:, 1:], atol=1e-4, rtol=1e-4)
    assert grid == (14, 14) and early.shape == (2, 192, 14, 14)


@pytest.mark.parametrize('size,grid', [((64, 64), (4, 4)), ((512, 683), (32, 43)), ((800, 1333), (50, 84)),
                                       ((50, 110), (4, 7)), ((16, 16), (1, 1)), ((5, 17), (1, 2))])
@pytest.mark.parametrize('with_cls_token', [True, False])
@pytest.mark.parametrize('restore_mode', ['nearest', 'bilinear'])
def test_maps_have_the_block_input_grid_at_any_size(size, grid, with_cls_token, restore_mode):
    model = small(with_cls_token=with_cls_token, restore_mode=restore_mode)
    with torch.no_grad():
        maps = model(torch.randn(1, 3, *size))
    assert [tuple(item.shape) for item in maps] == [(1, 24, *grid)] * 4
    assert all(item.isfinite().all() and item.is_contiguous() for item in maps)


def test_only_the_blocks_that_are_needed_are_built():
    model = small(out_indices=(0, 2))
    assert len(model.blocks) == 3 and list(model.merges) == ['1']
    assert small(out_indices=(-1,)).out_indices == (3,)


def test_every_parameter_gets_a_gradient():
    # A parameter without one would make DDP wait for ever.
    model = small().train()
    sum(item.square().sum() for item in model(torch.randn(2, 3, 64, 64))).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_per_block_widths_shape_the_module_tree():
    model = small(qk_dim=[8, 4, 6, 8], v_dim=5, ffn_dim=[96, 10, 20, 30])
    assert [block.attn.qkv.out_features for block in model.blocks] == [3 * (2 * qk + 5) for qk in (8, 4, 6, 8)]
    assert [block.mlp.fc1.out_features for block in model.blocks] == [96, 10, 20, 30]
    assert {block.attn.scale for block in model.blocks} == {8 ** -0.5}
    assert model(torch.randn(1, 3, 64, 64))[0].shape == (1, 24, 4, 4)


def test_a_spec_can_come_as_object_dict_or_file(tmp_path):
    spec = make_spec(SMALL, MERGE, v_dim=5)
    path = tmp_path / 'spec.json'
    path.write_text(spec.to_json())
    for given in (spec, spec.to_dict(), str(path)):
        assert DeiT(spec=given, out_indices=(3,)).spec == spec
    with pytest.raises(UserError, match='spec file nowhere.json does not exist'):
        DeiT(spec='nowhere.json')


@pytest.mark.parametrize('kwargs,message', [
    (dict(out_indices=(4,)), r'out_indices=\(4,\): custom has blocks 0 to 3'),
    (dict(out_indices=()), 'out_indices'),
    (dict(restore_mode='cubic'), "restore_mode='cubic'"),
    (dict(frozen_stages=5), 'frozen_stages=5: custom has 4 blocks'),
    (dict(merge=((4, 'horizontal'),)), 'merge 4:horizontal'),
])
def test_bad_settings_are_refused_by_name(kwargs, message):
    with pytest.raises(UserError, match=message):
        small(**kwargs)


def test_with_cp_changes_memory_not_values():
    plain, saving = small().train(), small(with_cp=True).train()
    saving.load_state_dict(plain.state_dict())
    image, grads = torch.randn(2, 3, 48, 64), []
    for model in (plain, saving):
        sum(item.square().sum() for item in model(image)).backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)


def test_frozen_stages_freeze_embedding_blocks_and_their_merges():
    model = small(frozen_stages=2, drop_path_rate=0.5).train()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {'pos_embed', 'cls_token', 'patch_embed.proj.weight'} <= frozen
    assert {'blocks.1.norm1.weight', 'merges.1.fuse.weight'} <= frozen
    assert not any(name.startswith(('blocks.2', 'blocks.3', 'merges.3')) for name in frozen)
    assert not model.blocks[1].training and model.blocks[2].training
    assert all(parameter.requires_grad for parameter in small(frozen_stages=0).blocks.parameters())
    for stages, trained in ((3, True), (4, False)):
        whole = small(frozen_stages=stages, final_norm=True, out_indices=(-1,))
        assert any(parameter.requires_grad for parameter in whole.parameters()) == trained


def test_drop_path_grows_to_the_last_block():
    model = small(drop_path_rate=0.3)
    assert isinstance(model.blocks[0].drop_path, nn.Identity)
    assert [round(block.drop_path.drop_prob, 6) for block in list(model.blocks)[1:]] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize('build', [small, lambda **keywords: Swin(
    dict(embed_dim=8, depths=(1, 3), num_heads=(1, 2), window_size=4, img_size=(32, 32)), out_indices=(0, 1),
    **keywords)])
def test_drop_path_may_be_the_same_in_every_block(build):
    """XCiT's: ``dpr = [drop_path_rate for i in range(depth)]`` (semantic_segmentation/backbone/xcit.py)."""
    blocks = build(drop_path_rate=[0.05] * 4).flat_blocks()
    assert [block.drop_path.drop_prob for block in blocks] == [0.05] * 4
    with pytest.raises(UserError, match='3 rates for 4 blocks: give one per block'):
        build(drop_path_rate=[0.05] * 3)
    for wrong in (-0.1, 1, float('nan'), '0.1', [0.1, 0.1, 0.1, 2], True, None):
        with pytest.raises(UserError, match='one number from 0 to below 1'):
            build(drop_path_rate=wrong)


def test_final_norm_touches_the_last_output_only():
    plain, normed = small(), small(final_norm=True)
    normed.load_state_dict({**plain.state_dict(), **{f'norm.{k}': v for k, v in normed.norm.state_dict().items()}})
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        *early, last = plain(image)
        *early_normed, last_normed = normed(image)
    for a, b in zip(early, early_normed):
        assert torch.equal(a, b)
    assert not torch.allclose(last, last_normed)


def test_layer_depth_orders_parameters_for_layer_wise_decay():
    model = small()
    depths = {name: model.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in model.named_parameters()}
    assert depths['pos_embed'] == depths['patch_embed.proj.weight'] == (0, 6)
    assert depths['blocks.0.attn.qkv.weight'] == (1, 6) and depths['blocks.3.mlp.fc2.bias'] == (4, 6)
    assert depths['merges.3.fuse.weight'] == (4, 6), 'a merge belongs to the block it stands before'
    assert model.get_layer_depth('decode_head.conv.weight', 'backbone.') == (5, 6)


def test_attention_is_fused_without_a_mask(monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def spy(*args, **kwargs):
        calls.append((len(args), kwargs))
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', spy)
    small()(torch.randn(1, 3, 64, 64))
    assert len(calls) == 4
    assert all(count == 3 and kwargs == {'scale': 8 ** -0.5, 'attn_mask': None} for count, kwargs in calls)
