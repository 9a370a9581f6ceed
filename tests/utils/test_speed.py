import pytest
import torch

from cait_mm.utils.speed import Timing, amdahl, peak_memory, time_interleaved


def test_calls_are_interleaved_and_warm_up_is_not_counted():
    order = []
    timings = time_interleaved({'a': lambda: order.append('a'), 'b': lambda: order.append('b')}, rounds=3, warmup=2)
    assert ''.join(order) == 'ab' * 5
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {'a': 3, 'b': 3}


def test_timing_reports_median_and_relative_quartiles():
    timing = Timing([1., 2., 3., 4., 100.])
    assert timing.median == 3 and timing.spread == pytest.approx(2 / 3)
    assert Timing([5.]).spread == 0


def test_noise_and_waiting_gpus_are_seen():
    assert not Timing([1., 1.01, 1.02, 1.03]).noisy and Timing([1., 1.2, 1.4, 1.6]).noisy
    assert Timing([1., 1.], busy=0.7).launch_bound and not Timing([1., 1.], busy=0.8).launch_bound
    assert not Timing([1., 1.]).launch_bound, 'a CPU waits for nobody'


def test_amdahl_caps_the_gain_of_a_faster_part():
    assert amdahl(10, 5, 2) == pytest.approx(10 / 7.5) and amdahl(10, 10, 2) == 2 and amdahl(10, 0, 2) == 1
    assert amdahl(10, 11, 2) == 2, 'noise, not time won'


def test_peak_memory_is_the_most_held_at_once():
    matrix = torch.rand(256, 256)
    size = matrix.numel() * 4
    assert peak_memory(lambda: None) == 0
    few = 1024  # scalars
    assert peak_memory(lambda: matrix + 1) == pytest.approx(size, abs=few)
    assert peak_memory(lambda: ((matrix + 1), (matrix + 2))) == pytest.approx(2 * size, abs=few)
    assert peak_memory(lambda: [matrix + index for index in range(3)] and None) == pytest.approx(3 * size, abs=few)

    def one_after_the_other():
        for index in range(3):
            matrix + index

    assert peak_memory(one_after_the_other) == pytest.approx(size, abs=few)
