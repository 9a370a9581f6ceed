import numpy as np
import torch
from torchvision.ops import box_iou

from cait_mm.demo.differences import changed_pixels, largest_changes, matched_boxes, total_variation, unpaired
from cait_mm.demo.predictor import Boxes


def test_changed_pixels_are_shared_out_over_pairs_of_classes():
    chance = np.random.default_rng(0)
    first, second = chance.integers(0, 4, (2, 30, 40))
    pairs = changed_pixels(first, second)
    for one, other, mask in pairs:
        assert mask.any() and (first[mask] == one).all() and (second[mask] == other).all()
    np.testing.assert_array_equal(sum(mask.astype(int) for *_, mask in pairs), first != second)
    counts = [mask.sum() for *_, mask in pairs]
    assert counts == sorted(counts, reverse=True) and changed_pixels(first, first) == []


def boxes(count: int, seed: int) -> Boxes:
    chance = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=chance).sort(1).values
    return Boxes(100 * corners.flatten(1), torch.rand(count, generator=chance),
                 torch.randint(2, (count, ), generator=chance))


def test_boxes_are_paired_once_with_one_of_their_class_that_overlaps():
    for seed in range(20):
        first, second = boxes(30, seed), boxes(25, 100 + seed)
        pairs = matched_boxes(first, second)
        assert all(len({pair[side] for pair in pairs}) == len(pairs) for side in (0, 1))
        overlap = box_iou(first.corners, second.corners)
        assert all(first.labels[one] == second.labels[other] and overlap[one, other] >= 0.5 for one, other in pairs)
        lost, won = (unpaired(some, [pair[side] for pair in pairs]) for side, some in enumerate((first, second)))
        assert len(lost) + len(pairs) == 30 and len(won) + len(pairs) == 25
        # nothing that is left could be paired
        left = (overlap >= 0.5) & (first.labels[:, None] == second.labels[None])
        assert not left[lost][:, won].any()


def test_a_model_finds_its_own_boxes_again_and_none_is_none():
    some, none = boxes(12, 0), boxes(0, 0)
    assert sorted(matched_boxes(some, some)) == [(index, index) for index in range(12)]
    assert matched_boxes(some, none) == matched_boxes(none, some) == []


def test_distributions_are_as_far_apart_as_the_mass_that_moves():
    first, second = torch.tensor([0.5, 0.3, 0.2, 0.]), torch.tensor([0.1, 0.3, 0.2, 0.4])
    assert abs(total_variation(first, second) - 0.4) < 1e-6 and total_variation(first, first) == 0
    assert largest_changes(first, second, 2) == [0, 3]
    assert largest_changes(torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.6, 0.09, 0.31]), 2) == [1, 2, 0], \
        'the first guesses are always there'
