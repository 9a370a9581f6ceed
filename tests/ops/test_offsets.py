"""Tables of offsets against a walk over all pairs of patches, for merged tokens too."""
from itertools import product

import pytest
import torch

from cait_mm.ops.offsets import CLS_ROWS, grid_places, merged_offsets, offset_rows, resize_table, table_rows
from cait_mm.ops.token_merge import MERGE_KINDS, group_tokens, merged_grid

GRID = (5, 3)


@pytest.mark.parametrize('has_cls', [False, True])
def test_every_pair_reads_the_row_of_its_offset(has_cls):
    """A table's rows are listed by hand: all offsets, row by row, then CLS to patch, patch to CLS, CLS to itself."""
    offsets = list(product(range(1 - GRID[0], GRID[0]), range(1 - GRID[1], GRID[1])))
    assert table_rows(GRID) == len(offsets) + CLS_ROWS
    names = [*offsets, 'from CLS', 'to CLS', 'CLS']
    tokens = [*['CLS'] * has_cls, *product(range(GRID[0]), range(GRID[1]))]
    for one, row in zip(tokens, offset_rows(grid_places(GRID), GRID, has_cls), strict=True):
        for other, index in zip(tokens, row, strict=True):
            if 'CLS' in (one, other):
                wanted = 'CLS' if one == other else 'from CLS' if one == 'CLS' else 'to CLS'
            else:
                wanted = (one[0] - other[0], one[1] - other[1])
            assert names[index] == wanted


@pytest.mark.parametrize('kind', MERGE_KINDS)
def test_merged_tokens_stand_at_the_first_of_their_patches_and_inside_the_window(kind):
    grid, places = GRID, grid_places(GRID)
    for _ in range(3):
        members = group_tokens(torch.eye(grid[0] * grid[1])[None], grid, kind).unflatten(-1, (-1, grid[0] * grid[1]))
        merged = merged_offsets(places, grid, kind)
        for token, patches in zip(merged[0], members[0].sum(1), strict=True):
            assert token.tolist() == places[0][patches > 0].amin(0).tolist()
        grid, places = merged_grid(kind, grid), merged
        rows = offset_rows(places, GRID, True)
        assert rows.min() >= 0 and rows[1:, 1:].max() < table_rows(GRID) - CLS_ROWS


def test_a_table_of_another_window_keeps_the_rows_of_cls():
    table = torch.randn(table_rows(GRID), 2)
    assert resize_table(table, GRID, GRID) is table
    other = resize_table(table, GRID, (4, 7))
    assert other.shape == (table_rows((4, 7)), 2)
    assert torch.equal(other[-CLS_ROWS:], table[-CLS_ROWS:])
    flat = resize_table(torch.ones_like(table), GRID, (4, 7))
    torch.testing.assert_close(flat, torch.ones_like(flat))
