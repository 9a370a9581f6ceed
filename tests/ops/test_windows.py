import pytest
import torch
from torch import nn

from cait_mm.ops.windows import (
    WindowAttention,
    partition,
    relative_index,
    shift_mask,
    shift_of,
    unpartition,
    window_count,
    window_of,
)


def test_windows_shrink_with_the_grid_and_one_window_is_not_shifted():
    assert window_of((14, 7), 7) == (7, 7) and window_of((14, 4), 7) == (7, 4) and window_of((2, 30), 7) == (2, 7)
    assert shift_of((14, 7), (7, 7)) == (3, 0) and shift_of((8, 8), (7, 7)) == (3, 3)
    assert shift_of((4, 4), (4, 4)) == (0, 0)
    assert window_count((14, 7), (7, 7)) == 2 and window_count((15, 8), (7, 7)) == 6


def test_partition_and_back():
    x = torch.arange(2 * 6 * 8 * 3.).view(2, 6, 8, 3)
    windows = partition(x, (3, 4))
    assert windows.shape == (2 * 4, 12, 3)
    assert torch.equal(windows[1], x[0, :3, 4:].reshape(12, 3)) and torch.equal(unpartition(windows, (3, 4), (6, 8)), x)


@pytest.mark.parametrize('window', [(7, 7), (7, 4), (4, 4), (2, 3)])
def test_a_smaller_window_reads_the_offsets_of_the_full_table(window):
    index = relative_index(window, 7)
    places = [(y, x) for y in range(window[0]) for x in range(window[1])]
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            assert index[i, j] == (y - v + 6) * 13 + (x - u + 6)


@pytest.mark.parametrize('grid,window,shift', [((6, 6), (3, 3), (1, 1)), ((8, 4), (4, 4), (2, 0)),
                                               ((4, 9), (2, 3), (1, 1))])
def test_the_mask_separates_tokens_that_were_no_neighbours(grid, window, shift):
    height, width = grid
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    before = torch.stack([y, x], -1)[None].roll((-shift[0], -shift[1]), (1, 2))
    mask = shift_mask(grid, window, shift)
    for tokens, visible in zip(partition(before, window), mask):
        for i, a in enumerate(tokens):
            for j, b in enumerate(tokens):
                # Tokens of one window belong together unless the roll carried one of them around the edge.
                near = all(abs(int(a[axis] - b[axis])) < window[axis] for axis in range(2))
                assert (visible[i, j] == 0) == near


def naive(layer, x, grid):
    """Swin's attention by hand: pad, shift, and for every window its own softmax with bias and mask."""
    (height, width), dim = grid, x.shape[-1]
    window = window_of(grid, layer.window_size)
    shift = shift_of(grid, window) if layer.shifted else (0, 0)
    rows, columns = (-(-side // length) * length for side, length in zip(grid, window))
    canvas = torch.zeros(len(x), rows, columns, dim)
    canvas[:, :height, :width] = x.view(len(x), height, width, dim)
    out = torch.zeros_like(canvas)
    part = torch.zeros(rows, columns)
    for axis, (side, length, moved) in enumerate(zip((rows, columns), window, shift)):
        for place in range(side):
            where = (place + moved) % side
            label = 0 if place < side - length or not moved else 1 if place < side - moved else 2
            (part[where] if axis == 0 else part[:, where]).add_(label * (10 if axis else 1))
    for top in range(0, rows, window[0]):
        for left in range(0, columns, window[1]):
            places = [((top + i + shift[0]) % rows, (left + j + shift[1]) % columns)
                      for i in range(window[0]) for j in range(window[1])]
            tokens = torch.stack([canvas[:, y, z] for y, z in places], 1)
            qk, v = layer.num_heads * layer.qk_dim, layer.num_heads * layer.v_dim
            q, k, v = layer.qkv(tokens).split([qk, qk, v], -1)
            heads = []
            for h in range(layer.num_heads):
                a = slice(h * layer.qk_dim, (h + 1) * layer.qk_dim)
                logits = q[..., a] @ k[..., a].mT * layer.scale
                for i in range(len(places)):
                    for j in range(len(places)):
                        dy, dx = i // window[1] - j // window[1], i % window[1] - j % window[1]
                        side = 2 * layer.window_size - 1
                        row = (dy + layer.window_size - 1) * side + dx + layer.window_size - 1
                        logits[:, i, j] += layer.relative_position_bias_table[row, h]
                        if part[places[i]] != part[places[j]]:
                            logits[:, i, j] = -torch.inf
                heads.append(logits.softmax(-1) @ v[..., h * layer.v_dim:(h + 1) * layer.v_dim])
            for (y, z), value in zip(places, layer.proj(torch.cat(heads, -1)).unbind(1)):
                out[:, y, z] = value
    return out[:, :height, :width].flatten(1, 2)


@pytest.mark.parametrize('grid', [(6, 6), (3, 3), (6, 3), (5, 7), (2, 6), (2, 2)])
@pytest.mark.parametrize('shifted', [False, True])
def test_equals_attention_by_hand_on_any_grid(grid, shifted):
    layer = WindowAttention(8, 2, 3, 5, 4, window_size=3, shifted=shifted)
    nn.init.normal_(layer.relative_position_bias_table)
    x = torch.randn(2, grid[0] * grid[1], 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, grid), naive(layer, x, grid), atol=1e-5, rtol=1e-5)


def test_results_kept_in_inference_serve_training():
    layer = WindowAttention(8, 2, 3, 5, 4, window_size=3, shifted=True)
    x = torch.randn(1, 63, 8)
    with torch.inference_mode():
        layer(x, (7, 9))
    layer(x, (7, 9)).sum().backward()
    assert layer.relative_position_bias_table.grad.isfinite().all()
