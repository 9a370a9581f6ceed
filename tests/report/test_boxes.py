from itertools import permutations

import pytest
import torch

from cait_mm.report.boxes import Boxes, matched


def boxes(*rows):
    """Boxes of (x1, y1, x2, y2, score, class)."""
    values = torch.tensor(rows).float().view(-1, 6)
    return Boxes(values[:, :4], values[:, 4], values[:, 5].long())


def overlap(one, other):
    width, height = (max(0, min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis])) for axis in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def test_a_box_is_found_again_by_one_of_its_class_that_overlaps_by_half():
    before = boxes((0, 0, 10, 10, .9, 0), (20, 20, 30, 30, .8, 1), (40, 40, 50, 50, .7, 0))
    after = boxes((21, 20, 31, 30, .5, 1), (0, 0, 10, 10, .9, 1), (40, 46, 50, 56, .9, 0))
    assert matched(before, after) == [(1, 0)]
    assert matched(boxes(), after) == matched(before, boxes()) == []


def test_no_box_is_found_twice_and_the_surest_chooses_first():
    before = boxes((0, 0, 10, 10, .5, 0), (0, 0, 10, 11, .9, 0))
    assert matched(before, boxes((0, 0, 10, 11, .4, 0))) == [(1, 0)]
    assert sorted(matched(before, boxes((0, 0, 10, 11, .4, 0), (0, 0, 10, 10, .4, 0)))) == [(0, 1), (1, 0)]


@pytest.mark.parametrize('seed', range(5))
def test_as_many_are_matched_as_can_be_where_boxes_are_apart(seed):
    torch.manual_seed(seed)
    places = 30 * torch.arange(5).float()
    corners = torch.stack([places, places, places + 10, places + 10], 1)
    moved = corners[torch.randperm(5)] + torch.randint(-6, 7, (5, 1))
    labels = torch.zeros(5, dtype=torch.long)
    before, after = Boxes(corners, torch.rand(5), labels), Boxes(moved, torch.rand(5), labels)
    most = max(sum(overlap(one, moved[other]) >= .5 for one, other in zip(corners, order))
               for order in permutations(range(5)))
    assert len(matched(before, after)) == most
