"""A table in closed form predicts what the closed form says, and files that are none are a sentence."""
import json

import pytest
from timed import linear, steps_of, table_of

from cait_mm.errors import UserError
from cait_mm.latency.table import LatencyTable, interpolated, share_of
from cait_mm.spec import Spec, make_spec

MERGE = ((4, 'horizontal'), (8, 'vertical'))


def test_a_model_costs_what_its_parts_do():
    table = table_of('deit_tiny')
    spec = make_spec('deit_tiny', MERGE, 32, 32, 400)
    tokens = [197] * 4 + [99] * 4 + [50] * 4
    wanted = sum(linear(count, 32) + linear(count, 400) for count in tokens) + 2 + 2  # merges, stem and head
    assert table.predict(spec) == pytest.approx(wanted)
    dense = 12 * (linear(197, 64) + linear(197, 768)) + 2
    assert table.dense == pytest.approx(dense) and table.saved(spec) == pytest.approx(1 - wanted / dense)
    assert table.prediction(spec)['ms'] == table.predict(spec)


def test_steps_to_a_new_stage_cost_too():
    table = table_of('swin_tiny', attention=lambda *_: 0., ffn=lambda *_: 0.)
    assert table.dense == pytest.approx(2 + 3)


def test_widths_count_as_they_are_padded_and_q_k_and_v_as_the_wider_one():
    table = table_of('deit_tiny')
    wide = table.predict(make_spec('deit_tiny', (), 48, 48, 640))
    assert table.predict(make_spec('deit_tiny', (), 45, 41, 633)) == wide
    assert table.predict(make_spec('deit_tiny', (), 48, 8, 640)) == table.predict(
        make_spec('deit_tiny', (), 8, 48, 640)) == wide
    stepped = table_of('deit_tiny', attention=steps_of(16))
    assert stepped.predict(make_spec('deit_tiny', (), 40, 40)) == stepped.predict(make_spec('deit_tiny', (), 48, 48))


def test_between_points_time_is_linear_and_beyond_them_it_stays():
    curve = {8: 1., 16: 3., 64: 3.}
    assert [interpolated(curve, width) for width in (1, 8, 10, 16, 40, 64, 99)] == [1, 1, 1.5, 3, 3, 3, 3]
    assert [interpolated(curve, tokens, downwards=True) for tokens in (6, 4, 1, 99)] == [0.5, 0, 0, 3]
    table = table_of('deit_tiny')
    halved = table.predict(make_spec('deit_tiny', ((6, 'symmetric'), )))
    assert halved == pytest.approx(6 * (linear(197, 64) + linear(197, 768) + linear(50, 64) + linear(50, 768)) + 3)
    assert table.price(Spec.dense('deit_tiny'))(0, make_spec('deit_tiny', (), 64, 64, 404).blocks[0]) == pytest.approx(
        linear(197, 64) + linear(197, 408))


def test_a_file_holds_the_same_table(tmp_path):
    table = table_of('swin_tiny')
    table.save(tmp_path / 'table.json')
    read = LatencyTable.from_file(tmp_path / 'table.json')
    spec = make_spec('swin_tiny', (('2.2', 'horizontal'), ), 16, 16)
    assert read.predict(spec) == pytest.approx(table.predict(spec), rel=1e-4)
    assert read.to_dict() == table.to_dict() and read.conditions['CPU'] == 'a made-up one'


def test_another_model_is_refused():
    table = table_of('deit_tiny')
    with pytest.raises(UserError, match='the model is another'):
        table.predict(Spec.dense('deit_small'))
    with pytest.raises(UserError, match='not ToMe'):
        table.predict(make_spec('deit_tiny', tokens=dict(type='ToMe', r=8)))
    assert table.require(table.arch, (224, 224)) is table
    with pytest.raises(UserError, match='deit_tiny, at 224x224; the model is a classifier, deit_tiny, at 384x384'):
        table.require(table.arch, (384, 384))
    with pytest.raises(UserError, match='the model is a backbone with maps of blocks'):
        table.require(table.arch, (224, 224), (3, 5, 7, 11))


@pytest.mark.parametrize('change,message', [
    ({'version': 2}, 'version 2'), ({'ms': []}, 'mappings'), ({'arch': 'deit_huge'}, 'unknown architecture'),
    ({'prefix': -1}, 'prefix=-1'), ({'outputs': [12]}, 'no numbers of blocks'), ({'more': 1}, 'unknown keys more'),
    ({'ms': {'stem': {'': {'197': 'x'}}}}, "'x' instead of milliseconds"), ({'ms': {}}, 'no times of stem'),
    ({'ms': {'attention': {'': {'197': 3.}}}}, 'times of attention should be'),
    ({'ms': {'attention': {'': {'197': {'-8': 3.}}}}}, "'-8' instead of a number"),
    ({'ms': {'stem': {'': {}}}}, 'no times of stem'), ({'ms': {'stem': {'': {'1': -1}}}}, '-1 instead'),
    ({'ms': {'ffn': {'': {'197': {}}}}}, 'no times of ffn'),
])
def test_a_file_that_is_no_table_is_a_sentence(tmp_path, change, message):
    (tmp_path / 'table.json').write_text(json.dumps({**table_of('deit_tiny').to_dict(), **change}))
    with pytest.raises(UserError, match=message) as error:
        LatencyTable.from_file(tmp_path / 'table.json')
    assert 'table.json' in str(error.value)


@pytest.mark.parametrize('text', ['', '{', '[' * 100000])
def test_a_file_that_is_no_json_is_a_sentence(tmp_path, text):
    (tmp_path / 'table.json').write_text(text)
    with pytest.raises(UserError, match=r'table.json.* is no readable JSON'):
        LatencyTable.from_file(tmp_path / 'table.json')


@pytest.mark.parametrize('speedup', [1, 0, -2., float('nan'), float('inf'), '2', None, True])
def test_what_is_no_speedup_is_refused(speedup):
    with pytest.raises(UserError, match='a number above 1'):
        share_of(speedup)
    assert share_of(2.) == 0.5
