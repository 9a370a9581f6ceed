"""Times of two models, and of their parts."""
import time
from statistics import median

import pytest
import torch
from conftest import plain_classifier

from cait_mm.ops.token_merge import TokenMerge
from cait_mm.report.speed import ATTENTION, BODY, FFN, HEAD, MERGES, STEM, compare, described, spent, stopwatch
from cait_mm.utils.speed import Timing


def test_the_ratio_is_of_medians_and_its_quartiles_are_those_of_the_rounds():
    dense, small = [4., 6., 8., 10., 12.], [2., 2., 4., 4., 3.]
    told = described({'dense': Timing(dense), 'small': Timing(small)}, (2, 3, 64, 32))
    ratios = sorted(one / other for one, other in zip(dense, small))
    assert told['ratio'] == median(dense) / median(small) and told['ratio_quartiles'] == [ratios[1], ratios[3]]
    assert (told['batch_size'], told['shape'], told['rounds'], told['noisy']) == (2, [64, 32], 5, True)


class Clock:
    """Stands for the machine's: modules that are given to it take as many seconds as they are told to."""

    def __init__(self) -> None:
        self.now = 0.

    def __call__(self) -> float:
        return self.now

    def slow(self, module: torch.nn.Module, seconds: float) -> None:
        def wait(*_):
            self.now += seconds

        module.register_forward_pre_hook(wait)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr('time.perf_counter', clock)
    return clock


@pytest.mark.parametrize('family', ['deit', 'swin'])
def test_time_is_booked_where_it_is_spent(clock, family):
    model = plain_classifier(family).eval()
    blocks, backbone = model.backbone.flat_blocks(), model.backbone
    clock.slow(backbone.patch_embed.proj, 100.)
    for block in blocks:
        clock.slow(block.attn.qkv, 1.)
        clock.slow(block.mlp.fc1, 3.)
        clock.slow(block.norm1, .25)
    for merge in (module for module in backbone.modules() if isinstance(module, TokenMerge)):
        clock.slow(merge.fuse, 7.)
    clock.slow(model.head, 50.)
    found = spent(model, model, torch.randn(1, 3, 64, 64), seconds=1e9)
    count = len(blocks)
    assert found['dense'] == found['small'] == {
        STEM: 100., ATTENTION: count, FFN: 3. * count, MERGES: 14., BODY: .25 * count, HEAD: 50.}
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


def test_both_models_are_timed_in_turn(clock):
    dense, small = (plain_classifier('deit').eval() for _ in range(2))
    clock.slow(dense.head, 4.)
    clock.slow(small.head, 2.)
    told = compare(dense, small, torch.randn(1, 3, 64, 64), seconds=48.)
    assert (told['ratio'], told['ratio_quartiles'], told['rounds']) == (2., [2., 2.], 8)
