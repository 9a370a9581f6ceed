"""Rotary positions against timm's own modules, and merged tokens against their patches, one by one."""
import pytest
import torch
from timm.layers import apply_rot_embed_cat, create_rope_embed

from cait_mm.ops.rotary import axial_frequencies, grid_coordinates, merged_coordinates, mixed_frequencies, rotations
from cait_mm.ops.token_merge import MERGE_KINDS, group_tokens, merged_grid

GRID = (5, 3)


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('indexing', ['ij', 'xy'])
@pytest.mark.parametrize('kind,more', [('cat', {}), ('cat', dict(grid_offset=1.)), ('cat', dict(ref_feat_shape=(4, 7))),
                                       ('dinov3', {}), ('dinov3', dict(grid_offset=0.5))])
def test_rotations_of_a_whole_grid_are_timms(kind, more, indexing, half):
    rope = create_rope_embed(kind, dim=32, num_heads=2, feat_shape=GRID, temperature=50., grid_indexing=indexing,
                             rotate_half=half, **({'in_pixels': False} if kind == 'cat' else {}), **more)
    places = grid_coordinates(GRID, kind == 'dinov3', more.get('grid_offset', 0.), indexing, more.get('ref_feat_shape'))
    ours = rotations(places, axial_frequencies(16, 50.), half)
    torch.testing.assert_close(ours, rope.get_embed(), atol=2e-6, rtol=0)


def test_learned_rotations_are_timms():
    rope = create_rope_embed('mixed', dim=32, num_heads=2, depth=3, feat_shape=GRID, grid_indexing='xy')
    places = grid_coordinates(GRID, indexing='xy')
    for block, theirs in enumerate(rope.get_embed()):
        ours = rotations(places, rope.freqs[:, block], half=False)
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
    start = mixed_frequencies(16, 2, 10.)
    assert start.shape == rope.freqs[:, 0].shape
    torch.testing.assert_close(start.square().sum(0), rope.freqs[:, 0].square().sum(0))


@pytest.mark.parametrize('grid', [(4, 6), (5, 3), (1, 7)])
@pytest.mark.parametrize('kind', MERGE_KINDS)
def test_a_merged_token_stands_at_the_mean_of_its_patches(kind, grid):
    """The patches of a token are those that it changes with, counted as often as padding repeats them."""
    patches = torch.eye(grid[0] * grid[1])[None]
    members = group_tokens(patches, grid, kind).unflatten(-1, (-1, patches.shape[-1])).sum(2)[0]
    places = grid_coordinates(grid)
    wanted = members @ places[0] / members.sum(1, keepdim=True)
    merged = merged_coordinates(places, grid, kind)
    height, width = merged_grid(kind, grid)
    assert merged.shape == (1, height * width, 2)
    torch.testing.assert_close(merged[0], wanted)


def test_turning_all_places_by_one_step_changes_no_product():
    """Attention sees differences of places alone."""
    q, k = torch.randn(2, 15, 16)
    products = []
    for offset in (0., 3.5):
        turn = rotations(grid_coordinates(GRID, offset=offset), axial_frequencies(16, 50.), half=True)
        products.append(apply_rot_embed_cat(q, turn, half=True) @ apply_rot_embed_cat(k, turn, half=True).T)
    torch.testing.assert_close(*products, atol=1e-4, rtol=0)
