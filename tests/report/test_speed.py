"""Times of two models, and of their parts."""
import time
from statistics import median

import pytest
import torch
from conftest import plain_classifier

from cait_mm.analysis.speed import Timing
from cait_mm.report.speed import ATTENTION, BODY, FFN, HEAD, KINDS, MERGES, STEM, compare, described, spent, stopwatch


def test_the_ratio_is_of_medians_and_its_quartiles_are_those_of_the_rounds():
    dense, small = [4., 6., 8., 10., 12.], [2., 2., 4., 4., 3.]
    told = described({'dense': Timing(dense), 'small': Timing(small)}, (2, 3, 64, 32))
    ratios = sorted(one / other for one, other in zip(dense, small))
    assert told['ratio'] == median(dense) / median(small) and told['ratio_quartiles'] == [ratios[1], ratios[3]]
    assert (told['batch_size'], told['shape'], told['rounds'], told['noisy']) == (2, [64, 32], 5, True)


@pytest.mark.parametrize('family', ['deit', 'swin'])
def test_time_is_booked_where_it_is_spent(family):
    """Slow one kind of part down; its share grows by that, and no other."""
    model = plain_classifier(family).eval()
    image, slow = torch.randn(1, 3, 64, 64), 0.004
    blocks = model.backbone.flat_blocks()
    for block in blocks:
        block.mlp.fc1.register_forward_pre_hook(lambda *_: time.sleep(slow))
    found = spent(model, model, image, seconds=0)['dense']
    assert len(blocks) * slow <= found[FFN] < 2 * len(blocks) * slow
    assert all(found[kind] < len(blocks) * slow for kind in found if kind != FFN)
    assert set(found) <= set(KINDS) and {STEM, ATTENTION, FFN, MERGES, BODY, HEAD} <= set(found)
    assert not any('forward' in vars(module) for module in model.modules()), 'the clocks are gone'


def test_parts_sum_to_the_whole_and_predictions_stay():
    model, image = plain_classifier('deit').eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = model(image)
        with stopwatch(model) as watch:
            start = time.perf_counter()
            found = model(image)
            whole = time.perf_counter() - start
    assert torch.equal(wanted, found)
    assert 0 < watch[STEM] + watch[ATTENTION] + watch[FFN] + watch[MERGES] <= watch[BODY] <= whole


def test_tokens_that_are_dropped_between_attention_and_ffn_do_not_hide_attention():
    model = plain_classifier('deit', merge=(), tokens=dict(type='ToMe', r=2)).eval()
    assert spent(model, model, torch.randn(1, 3, 64, 64), seconds=0)['small'][ATTENTION] > 0


def test_both_models_are_timed_in_turn():
    model = plain_classifier('deit').eval()
    told = compare(model, model, torch.randn(1, 3, 64, 64), seconds=0.01)
    assert told['rounds'] >= 5 and 0.3 < told['ratio'] < 3
