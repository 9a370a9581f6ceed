import pytest
import torch
import torch.nn.functional as F

from cait_mm.ops.token_merge import MERGE_KINDS, TokenMerge, group_tokens, is_weighted, merged_grid, restore

GRIDS = [(4, 6), (5, 6), (4, 7), (5, 7), (1, 2), (3, 1), (14, 14), (7, 7)]


def tokens_of(maps):
    return maps.flatten(2).transpose(1, 2)


def maps_of(tokens, grid):
    return tokens.transpose(1, 2).unflatten(2, grid)


def randomised(kind, dim=6):
    merge = TokenMerge(dim, kind)
    for parameter in merge.parameters():
        torch.nn.init.normal_(parameter)
    return merge


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('kind,kernel', [('horizontal', (1, 2)), ('vertical', (2, 1)), ('symmetric', (2, 2))])
def test_merge_is_a_strided_convolution_of_the_replicate_padded_map(kind, kernel, grid):
    merge, maps = randomised(kind), torch.randn(2, 6, *grid)
    extra = [grid[axis] % 2 if kernel[axis] == 2 else 0 for axis in (1, 0)]
    padded = F.pad(maps, (0, extra[0], 0, extra[1]), 'replicate')
    # Linear weight (C, n * C) with tokens in raster order is the convolution weight (C, C, kh, kw).
    weight = merge.fuse.weight.unflatten(1, (*kernel, 6)).permute(0, 3, 1, 2)
    wanted = F.conv2d(padded, weight, merge.fuse.bias, stride=kernel)
    got, new_grid = merge(tokens_of(maps), grid)
    assert new_grid == tuple(wanted.shape[-2:]) == merged_grid(kind, grid)
    torch.testing.assert_close(maps_of(got, new_grid), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('kind', ['horizontal_conv', 'vertical_conv'])
def test_conv_variant_adds_a_depthwise_convolution_to_the_plain_merge(kind):
    merge, maps, grid = randomised(kind), torch.randn(2, 6, 5, 7), (5, 7)
    plain = TokenMerge(6, kind.removesuffix('_conv'))
    plain.load_state_dict({key: value for key, value in merge.state_dict().items() if key.startswith('fuse')})
    got, new_grid = merge(tokens_of(maps), grid)
    merged = maps_of(plain(tokens_of(maps), grid)[0], new_grid)
    torch.testing.assert_close(maps_of(got, new_grid), merged + merge.conv(merged))


def test_diagonal_fuses_the_two_diagonals_of_every_patch():
    maps = torch.arange(16.).view(1, 1, 4, 4)
    got, grid = TokenMerge(1, 'diagonal')(tokens_of(maps), (4, 4))
    assert grid == (4, 2)
    # patch (0, 1; 4, 5): main diagonal (0 + 5) / 2 in the upper row, anti-diagonal (1 + 4) / 2 below it
    assert maps_of(got, grid)[0, 0, :2, 0].tolist() == [2.5, 2.5]
    grouped = group_tokens(tokens_of(maps), (4, 4), 'diagonal').view(4, 2, 2)
    assert grouped[0, 0].tolist() == [0, 5] and grouped[1, 0].tolist() == [1, 4]
    assert merged_grid('diagonal', (14, 7)) == (7, 8), 'both sides are padded even, the longer one halves'


PLAIN = [kind for kind in MERGE_KINDS if not is_weighted(kind)]


@pytest.mark.parametrize('kind', PLAIN)
@pytest.mark.parametrize('grid', GRIDS)
def test_merge_starts_as_the_mean_of_its_tokens(kind, grid):
    maps = torch.randn(2, 6, *grid)
    got, new_grid = TokenMerge(6, kind)(tokens_of(maps), grid)
    count = 4 if kind == 'symmetric' else 2
    grouped = group_tokens(tokens_of(maps), grid, kind)
    torch.testing.assert_close(got, grouped.unflatten(-1, (count, 6)).mean(2))
    assert got.shape == (2, new_grid[0] * new_grid[1], 6)


@pytest.mark.parametrize('kind', [kind for kind in MERGE_KINDS if is_weighted(kind)])
@pytest.mark.parametrize('grid', [(4, 6), (5, 7), (1, 4)])
def test_weighted_merge_is_the_mean_weighted_by_distance_from_the_mean_token(kind, grid):
    x = torch.randn(2, grid[0] * grid[1], 6)
    merge = TokenMerge(6, kind)
    torch.nn.init.constant_(merge.power, 3.)
    got, _ = merge(x, grid)
    count = 4 if kind.startswith('symmetric') else 2
    groups = group_tokens(x, grid, kind).unflatten(-1, (count, 6))
    for image, group in ((0, 0), (1, groups.shape[1] - 1)):
        tokens = groups[image, group]
        far = [float((token - x[image].mean(0)).square().sum()) ** 1.5 for token in tokens]
        wanted = sum(weight / sum(far) * token for weight, token in zip(far, tokens))
        torch.testing.assert_close(got[image, group], wanted)


def test_a_large_power_takes_the_token_that_stands_out_and_none_takes_the_mean():
    x = torch.tensor([[[0.], [0.1], [0.], [5.]]])
    merge = TokenMerge(1, 'horizontal_weighted')
    torch.nn.init.constant_(merge.power, 200.)
    assert merge(x, (1, 4))[0][0, 1].item() == pytest.approx(5)
    torch.nn.init.zeros_(merge.power)
    torch.testing.assert_close(merge(x, (1, 4))[0], TokenMerge(1, 'horizontal')(x, (1, 4))[0])


def test_equal_tokens_are_merged_as_they_are_and_have_finite_gradients():
    merge, x = TokenMerge(3, 'vertical_weighted'), torch.ones(1, 8, 3, requires_grad=True)
    got, _ = merge(x, (4, 2))
    got.sum().backward()
    torch.testing.assert_close(got, torch.ones(1, 4, 3))
    assert x.grad.isfinite().all() and merge.power.grad.isfinite()


def test_horizontal_grouping_is_a_view():
    x = torch.randn(2, 8, 4)
    assert group_tokens(x, (2, 4), 'horizontal').data_ptr() == x.data_ptr()


def test_merged_tokens_stay_in_raster_order():
    height, width = 4, 6
    rows = torch.arange(height).repeat_interleave(width).float()
    columns = torch.arange(width).repeat(height).float()
    positions = torch.stack([rows, columns], dim=1)[None]
    merged, grid = TokenMerge(2, 'horizontal')(positions, (height, width))
    merged, grid = TokenMerge(2, 'vertical')(merged, grid)
    assert grid == (2, 3)
    assert merged[0].tolist() == [[.5, .5], [.5, 2.5], [.5, 4.5], [2.5, .5], [2.5, 2.5], [2.5, 4.5]]


@pytest.mark.parametrize('height', range(1, 10))
@pytest.mark.parametrize('width', range(1, 10))
@pytest.mark.parametrize('kinds', [('horizontal',), ('vertical',), ('horizontal', 'vertical'), ('vertical', 'vertical'),
                                   ('horizontal', 'vertical', 'horizontal'), ('symmetric', 'symmetric')])
def test_nearest_restore_gives_every_position_the_token_it_was_merged_into(height, width, kinds):
    # Label every token by its index after the merges, by hand: each merge halves an index along its axes.
    grid, rows, columns = (height, width), torch.arange(height), torch.arange(width)
    for kind in kinds:
        grid = merged_grid(kind, grid)
        rows = rows // 2 if kind != 'horizontal' else rows
        columns = columns // 2 if kind != 'vertical' else columns
    merged = torch.arange(grid[0] * grid[1]).float().view(1, 1, *grid)
    wanted = merged[0, 0][rows][:, columns]
    restored = restore(merged, (height, width))
    assert restored.shape == (1, 1, height, width) and restored.is_contiguous()
    assert torch.equal(restored[0, 0], wanted)


def test_bilinear_restore_keeps_shape_mean_and_range():
    merged = torch.randn(2, 3, 4, 5)
    restored = restore(merged, (7, 10), 'bilinear')
    assert restored.shape == (2, 3, 7, 10)
    assert restored.min() >= merged.min() and restored.max() <= merged.max()
    torch.testing.assert_close(restore(torch.ones(1, 1, 2, 3), (3, 6), 'bilinear'), torch.ones(1, 1, 3, 6))
    assert not torch.equal(restored, restore(merged, (7, 10)))


def test_restore_refuses_a_grid_that_no_merging_leads_to():
    with pytest.raises(ValueError, match='10 tokens never merges to 4'):
        restore(torch.zeros(1, 1, 4, 4), (10, 8))


@pytest.mark.parametrize('kind', MERGE_KINDS)
def test_gradients_reach_every_token_and_every_weight(kind):
    merge, x = randomised(kind), torch.randn(2, 35, 6, requires_grad=True)
    merge(x, (5, 7))[0].square().sum().backward()
    assert (x.grad.abs().sum(-1) > 0).all()
    assert all(parameter.grad.abs().sum() > 0 for parameter in merge.parameters())


def test_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="'sideways'"):
        TokenMerge(4, 'sideways')
