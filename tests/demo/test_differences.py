import numpy as np
import torch

from cait_mm.analysis.classes import total_variation
from cait_mm.demo.differences import changed_pixels, largest_changes


def test_changed_pixels_are_shared_out_over_pairs_of_classes():
    chance = np.random.default_rng(0)
    first, second = chance.integers(0, 4, (2, 30, 40))
    pairs = changed_pixels(first, second)
    for one, other, mask in pairs:
        assert mask.any() and (first[mask] == one).all() and (second[mask] == other).all()
    np.testing.assert_array_equal(sum(mask.astype(int) for *_, mask in pairs), first != second)
    counts = [mask.sum() for *_, mask in pairs]
    assert counts == sorted(counts, reverse=True) and changed_pixels(first, first) == []


def test_distributions_are_as_far_apart_as_the_mass_that_moves():
    first, second = torch.tensor([0.5, 0.3, 0.2, 0.]), torch.tensor([0.1, 0.3, 0.2, 0.4])
    assert abs(total_variation(first, second) - 0.4) < 1e-6 and total_variation(first, first) == 0
    assert largest_changes(first, second, 2) == [0, 3]
    assert largest_changes(torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.6, 0.09, 0.31]), 2) == [1, 2, 0], \
        'the first guesses are always there'
