import argparse

import pytest

from cait_mm.config.options import add_cfg_options


def parse(*words):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


def test_cfg_options_are_values_by_key():
    assert parse('a.b=1', 'c=[x,2]') == {'a.b': 1, 'c': ['x', 2]}


@pytest.mark.parametrize('word,message', [
    ('foo', 'wants KEY=VALUE, not \'foo\''), ('a=[1,(2]', 'cannot be read'),
    ("a={'b': [1, 2], 'c': 3}", 'cannot be read'),  # MMEngine recurses without end
])
def test_another_word_is_a_sentence(capsys, word, message):
    with pytest.raises(SystemExit) as stop:
        parse('a=1', word)
    assert stop.value.code == 2 and message in capsys.readouterr().err
