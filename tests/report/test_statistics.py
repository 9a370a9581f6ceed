"""Intervals and IoU against definitions that do not share their code."""
import math

import numpy as np
import pytest

from cait_mm.report.statistics import change_of_miou, confusion, ious, mean_iou, paired_change, wilson


@pytest.mark.parametrize('hits,count', [(0, 10), (58, 64), (10, 10), (500, 1000)])
def test_wilson_holds_the_shares_whose_test_does_not_reject(hits, count):
    low, high = wilson(hits, count)
    for share in np.linspace(0.001, 0.999, 999):
        z = abs(hits / count - share) / math.sqrt(share * (1 - share) / count)
        if abs(z - 1.96) > 0.02:
            assert (z < 1.96) == (low < share < high), share


def test_the_change_of_a_share_is_that_of_the_cases():
    before, after = [True] * 8 + [False] * 2, [True] * 7 + [False] + [True] * 2
    change, low, high = paired_change(before, after)
    differences = [0] * 7 + [-1] + [1] * 2
    mean = sum(differences) / 10
    error = 1.96 * math.sqrt(sum((value - mean)**2 for value in differences) / 9 / 10)
    assert (change, low, high) == pytest.approx((mean, mean - error, mean + error))
    assert paired_change(before, before) == (0, 0, 0)


def test_iou_is_of_sets_of_pixels():
    chance = np.random.default_rng(0)
    truth, found = chance.integers(0, 4, (2, 30, 20))
    truth[0, :5] = 255
    matrix = confusion(truth, found, 5)
    pixels = [(row, column) for row in range(30) for column in range(20) if truth[row, column] < 5]
    for kind in range(4):
        one, other = ({place for place in pixels if labels[place] == kind} for labels in (truth, found))
        assert ious(matrix)[kind] == pytest.approx(len(one & other) / len(one | other))
    assert np.isnan(ious(matrix)[4]) and mean_iou(matrix) == pytest.approx(np.mean(ious(matrix)[:4]))


def test_the_interval_of_a_change_of_iou_holds_it_and_shrinks_with_more_images():
    chance = np.random.default_rng(0)

    def images(count):
        truth = chance.integers(0, 3, (count, 400))
        before, after = (np.where(chance.random((count, 400)) < share, truth, chance.integers(0, 3, (count, 400)))
                         for share in (0.8, 0.7))
        return [np.stack([confusion(*pair, 3) for pair in zip(truth, found)]) for found in (before, after)]

    widths = []
    for count in (10, 160):
        before, after = images(count)
        low, high = change_of_miou(before, after)
        assert low < mean_iou(after.sum(0)) - mean_iou(before.sum(0)) < high < 0
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert change_of_miou(before[:4], after[:4]) is None
