import json

import pytest

from cait_mm.analysis.speed import Timing, time_interleaved

DENSE, ATME = 'configs/upernet_deit_scenes.py', 'configs/upernet_atme_deit_scenes.py'


def test_calls_are_interleaved_and_warm_up_is_not_counted():
    order = []
    timings = time_interleaved({'a': lambda: order.append('a'), 'b': lambda: order.append('b')}, rounds=3, warmup=2)
    assert ''.join(order) == 'ab' * 5
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {'a': 3, 'b': 3}


def test_timing_reports_median_and_relative_quartiles():
    timing = Timing([1., 2., 3., 4., 100.])
    assert timing.median == 3 and timing.spread == pytest.approx(2 / 3)
    assert Timing([5.]).spread == 0


def test_benchmark_puts_macs_beside_speed(tool, tmp_path):
    out = tmp_path / 'speed.json'
    status, text, err = tool('benchmark.py', ATME, '--against', DENSE, '--shape', 64, 64, '--rounds', 2, '--json', out)
    assert status == 0, err
    result = json.loads(out.read_text())
    dense, atme = result['models'][DENSE], result['models'][ATME]
    assert dense['encoder']['speedup'] == dense['overall']['speedup'] == 1
    assert atme['encoder']['ideal'] == dense['encoder']['macs'] / atme['encoder']['macs'] > atme['overall']['ideal'] > 1
    assert result['conditions']['batch_size'] == 1 and result['conditions']['torch']
    assert 'speed-up' in text
