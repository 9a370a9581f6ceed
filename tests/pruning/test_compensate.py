"""Ridge regression against least squares on the rows themselves, and an FFN whose cut channels are redundant."""
import pytest
import torch
from torch import nn

from cait_mm.pruning.compensate import Moments, Sums, absorb, padded_places, predict_cut


def moments_of(rows: torch.Tensor) -> Moments:
    return Moments(rows.mean(0), rows.T @ rows / len(rows))


@pytest.fixture
def rows() -> torch.Tensor:
    """(400, 8) in double: correlated, with a mean."""
    return torch.randn(400, 8).double() @ torch.randn(8, 8).double() + torch.randn(8).double()


KEPT = torch.tensor([1, 0, 1, 1, 0, 1, 1, 0], dtype=torch.bool)


def test_without_ridge_it_is_least_squares_with_an_intercept(rows):
    weights, offset = predict_cut(moments_of(rows), KEPT, ridge=0.)
    augmented = torch.cat([rows[:, KEPT], torch.ones(len(rows), 1).double()], dim=1)
    expected = torch.linalg.lstsq(augmented, rows[:, ~KEPT]).solution.T
    torch.testing.assert_close(torch.cat([weights, offset[:, None]], dim=1), expected)


def test_much_ridge_leaves_the_means(rows):
    weights, offset = predict_cut(moments_of(rows), KEPT, ridge=1e9)
    assert weights.abs().max() < 1e-6
    torch.testing.assert_close(offset, rows.mean(0)[~KEPT], atol=1e-5, rtol=0)


def test_redundant_channels_are_cut_without_loss(rows):
    rows[:, ~KEPT] = rows[:, KEPT][:, :3] * 2 - 1
    layer = nn.Linear(8, 4).double()
    folded = nn.Linear(7, 4).double()  # five channels and two of padding
    with torch.no_grad():
        folded.weight.zero_()
        folded.weight[:, :5] = layer.weight[:, KEPT]
        folded.bias.copy_(layer.bias)
    absorb(folded, layer.weight, moments_of(rows), KEPT[None], ridge=1e-12)
    inputs = torch.cat([rows[:, KEPT], torch.zeros(len(rows), 2).double()], dim=1)
    torch.testing.assert_close(folded(inputs), layer(rows), atol=1e-6, rtol=0)
    assert not folded.weight[:, 5:].any()


def test_channels_that_never_vary_do_not_break_it():
    rows = torch.ones(10, 8).double()
    weights, offset = predict_cut(moments_of(rows), KEPT)
    assert weights.isfinite().all() and torch.allclose(offset, torch.ones(3).double())


def test_a_change_of_basis_turns_the_moments(rows):
    change = torch.randn(8, 8).double()
    actual, expected = moments_of(rows).turned(change), moments_of(rows @ change.T)
    torch.testing.assert_close(actual.mean, expected.mean)
    torch.testing.assert_close(actual.second, expected.second)


def test_sums_stream(rows):
    sums = Sums()
    for part in rows.split(150):
        sums.add(part)
    torch.testing.assert_close(sums.moments().mean, rows.mean(0))
    torch.testing.assert_close(sums.moments().second, moments_of(rows).second)


def test_places_of_padded_heads():
    kept = torch.tensor([[True, False, True], [True, True, False]])
    assert padded_places(kept, 4).tolist() == [0, 1, 4, 5]
