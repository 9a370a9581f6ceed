"""Residual restoring: each patch gets back the differences that merges removed, so idle blocks change nothing."""
import pytest
import torch
from conftest import FAMILIES
from torch import nn

from cait_mm.models import FAMILIES as CLASSES
from cait_mm.ops.token_merge import restore


def build(family: str, **changes) -> nn.Module:
    settings = {key: value for key, value in FAMILIES[family].items() if key != 'type'} | changes
    if family == 'swin':
        settings.setdefault('out_indices', (1, 2, 3))
    else:
        settings.setdefault('out_indices', (0, 1, 2))
    return CLASSES[family](**settings).eval()


def twin_of(dense: nn.Module, family: str, **changes) -> nn.Module:
    """The same weights with the family's merges."""
    merged = build(family, **changes)
    merged.load_state_dict(dense.state_dict(), strict=False)
    return merged


@pytest.mark.parametrize('mode', ['residual', 'residual_bilinear', 'residual_linear'])
@pytest.mark.parametrize('kind', ['', '_weighted'])
@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('size', [(64, 64), (48, 80)])
@torch.no_grad()
def test_where_blocks_add_nothing_the_maps_are_the_dense_ones(family, kind, size, mode):
    dense = build(family, merge=())
    for block in dense.flat_blocks():
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    merges = tuple((place, name + kind) for place, name in FAMILIES[family]['merge'])
    merged, image = twin_of(dense, family, merge=merges, restore_mode=mode), torch.randn(2, 3, *size)
    plain, wanted = twin_of(dense, family, merge=merges)(image), dense(image)
    torch.testing.assert_close(merged(image), wanted, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(plain[-1], wanted[-1], atol=1e-2)


@pytest.mark.parametrize('mode, how', [('residual', 'nearest'), ('residual_bilinear', 'bilinear'),
                                       ('residual_linear', 'bilinear')])
@torch.no_grad()
def test_the_map_is_the_merged_one_and_the_differences_of_the_tokens(mode, how):
    """On DeiT, by the definition: R += spread(x) - spread(merge(x)) at every merge, spread(y) + L(R) at the end."""
    model, seen, image = build('deit', restore_mode=mode), [], torch.randn(1, 3, 64, 64)
    for layer in model.restores.values():
        nn.init.normal_(layer.weight)
    turn = model.restores['2'].weight if model.restores else torch.eye(24)
    for merge in model.merges.values():
        merge.register_forward_hook(lambda _, inputs, output: seen.append((*inputs, *output)))

    def spread(tokens, grid):
        return restore(tokens.transpose(1, 2).unflatten(2, grid), (4, 4), how)

    got = model(image)[-1]
    model.set_restore_mode(how)
    lost = sum(spread(x, grid) - spread(merged, small) for x, grid, merged, small in seen[:len(model.merges)])
    torch.testing.assert_close(got, model(image)[-1] + torch.einsum('bchw,dc->bdhw', lost, turn))


@torch.no_grad()
def test_the_final_norm_comes_after_the_sum():
    bare = build('deit', restore_mode='residual')
    normed = build('deit', restore_mode='residual', final_norm=True)
    normed.load_state_dict(bare.state_dict(), strict=False)
    nn.init.normal_(normed.norm.weight)
    image = torch.randn(1, 3, 64, 64)
    wanted = normed.norm(bare(image)[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(normed(image)[-1], wanted)


@pytest.mark.parametrize('family', FAMILIES)
def test_gradients_reach_merges_and_stem(family):
    model = build(family, merge=tuple((place, f'{kind}_weighted') for place, kind in FAMILIES[family]['merge']),
                  restore_mode='residual')
    sum(item.square().mean() for item in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if 'merges' in name)
