"""The answer says what was measured, and of the rest that it was not."""
import pytest

from cait_mm.report.answer import answer, change, line, signed


def timing(seconds, low, high):
    return {'seconds': seconds, 'quartiles': [low, high]}


SPEED = {'dense': timing(.02, .019, .021), 'small': timing(.01, .0099, .0102), 'ratio': 2.,
         'ratio_quartiles': [1.9, 2.1], 'rounds': 9, 'batch_size': 1, 'shape': [224, 224], 'noisy': False,
         'conditions': {'CPU': 'some CPU', 'threads': 1, 'torch': '2.11'}}
COUNTS = {'dense': {'overall': {'macs': 4e9, 'params': 20e6}}, 'small': {'overall': {'macs': 2.08e9, 'params': 21e6}}}
LABELLED = {'what': 'top-1', 'unit': '%', 'dense': 80., 'small': 78.5, 'change': -1.5, 'interval_of_change': [-4., 1.],
            'on': '200 labelled images'}
ALIKE = {'what': 'the same first guess as the dense model', 'unit': '%', 'small': 93.75, 'interval': [85., 98.],
         'on': '64 images'}


def test_all_that_was_measured_is_said_with_its_spread_and_conditions():
    told = answer({'speed': SPEED, 'counts': COUNTS, 'quality': [LABELLED, ALIKE], 'missing': []})
    assert told['sentence'] == ('2.00 times as fast, −48 % MACs, +5 % parameters, top-1: 80.0 → 78.5 % on 200 '
                                'labelled images (no sure change).')
    sure = answer({'quality': [{**LABELLED, 'interval_of_change': [-2., -1.]}]})['sentence']
    assert sure == 'top-1: 80.0 → 78.5 % on 200 labelled images.'
    faster, smaller, worse = told['cards']
    assert faster['value'] == '2.00×' and '20.0 ms (19.0 to 21.0) → 10.0 ms (9.9 to 10.2)' in faster['details'][0]
    text = ' '.join(faster['details'])
    assert all(word in text for word in ('1.90× to 2.10×', '9 rounds', 'batch 1 of 224×224', 'some CPU', '1 thread,'))
    assert smaller['value'] == '−48 % MACs' and '20.00 → 21.00 M parameters (+5 %)' in smaller['details'][0]
    assert worse['value'] == '−1.5 points' and '(−4.0 to +1.0 at 95 % confidence), on 200' in worse['details'][0]
    assert told['unknown'] == []


def test_what_is_not_known_is_said_to_be_unmeasured():
    told = answer({'missing': ['speed: the machine burns'], 'quality': []})
    assert [card['value'] for card in told['cards']] == ['not measured'] * 3
    assert told['unknown'][0] == 'Speed: the machine burns.' and 'needs labels' in told['unknown'][1]
    told = answer({'quality': [ALIKE]})
    assert told['cards'][2]['value'] == '93.8 % alike' and 'needs labels' in told['unknown'][0]


def test_noise_is_a_warning():
    assert not any('Measure again' in text for text in answer({'speed': SPEED})['cards'][0]['details'])
    noisy = answer({'speed': {**SPEED, 'noisy': True}})
    assert 'Measure again' in noisy['cards'][0]['details'][-1] and '(noisy)' in noisy['sentence']


@pytest.mark.parametrize('value,text', [(1.26, '+1.3'), (-1.26, '−1.3'), (-0.01, '±0.0'), (0, '±0.0')])
def test_signs_are_those_of_what_is_shown(value, text):
    assert signed(value) == text


@pytest.mark.parametrize('before,after,text', [(4, 2, '−50 %'), (2, 4, '+100 %'), (3, 3, '+0 %'), (100, 95.6, '−4 %')])
def test_changes_are_whole_percents(before, after, text):
    assert change(before, after) == text


def test_a_row_of_quality_names_its_data():
    assert line(ALIKE) == ('the same first guess as the dense model: 93.8 % (85.0 to 98.0 at 95 % confidence), on '
                           '64 images')
