import argparse
import json

import pytest

from cait_mm.config import cli
from cait_mm.errors import UserError
from cait_mm.spec import make_spec


@pytest.mark.parametrize('debug', ['', '1'])
def test_a_user_error_is_a_sentence_and_its_cause_is_there_to_be_seen(monkeypatch, capsys, debug):
    monkeypatch.setenv('CAIT_DEBUG', debug)

    def main():
        try:
            raise KeyError('deep')
        except KeyError as error:
            raise UserError('what is wrong') from error

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.endswith('error: what is wrong\n')
    assert ('Traceback' in err) == ('deep' in err) == bool(debug)


def test_json_on_standard_output_is_alone(capsys):
    cli.report('for people', {'a': 1}, '-')
    out, err = capsys.readouterr()
    assert json.loads(out) == {'a': 1} and err == 'for people\n'


def test_a_script_that_fails_is_a_sentence(tmp_path, capfd):
    (tmp_path / 'a.py').write_text('import sys; print("out"); sys.exit(int(sys.argv[1]))')
    cli.run_python(tmp_path / 'a.py', 0)
    assert capfd.readouterr().out == ''
    with pytest.raises(UserError, match='a.py failed'):
        cli.run_python(tmp_path / 'a.py', 1)


def test_a_result_that_is_there_is_not_made_again(tmp_path):
    script, result = tmp_path / 'script.py', tmp_path / 'result.json'
    script.write_text('import json, sys\njson.dump(sys.argv[1:2], open(sys.argv[3], "w"))\n')
    assert cli.result_of(result, script, 'first') == cli.result_of(result, script, 'second') == ['first']


@pytest.mark.parametrize('kind,good,bad', [
    (cli.positive_int, ['1', '12'], ['0', '-1', '1.5', 'nan', 'inf', '', 'x', '1e3']),
    (cli.whole_number, ['0', '7'], ['-1', '0.5', 'nan']),
    (cli.positive, ['1e-9', '3'], ['0', '-1', 'nan', 'inf', 'x']),
    (cli.not_negative, ['0', '0.001'], ['-0.1', 'nan', 'inf', '-inf', '1e999']),
    (cli.share, ['0.001', '0.999'], ['0', '1', '-0.5', 'nan', 'inf', '']),
])
def test_a_number_that_makes_no_sense_is_an_error_of_the_parser(capsys, kind, good, bad):
    parser = argparse.ArgumentParser()
    parser.add_argument('--option', type=kind)
    for word in good:
        assert parser.parse_args([f'--option={word}']).option == float(word)
    for word in bad:
        with pytest.raises(SystemExit):
            parser.parse_args([f'--option={word}'])
        assert f'argument --option: {word!r} is not a' in capsys.readouterr().err


def test_no_tool_takes_a_number_that_it_does_not_check(repo):
    for path in sorted((repo / 'tools').rglob('*.py')):
        assert 'type=float' not in path.read_text() and 'type=int' not in path.read_text(), path


@pytest.mark.parametrize('word', ['0', '-1', '1.5', '9' * 30, '²'])
def test_values_that_are_no_counts_are_errors(word):
    with pytest.raises(argparse.ArgumentTypeError, match='is not a positive whole number below'):
        cli.positive_int(word)


def test_merges_are_read_in_any_order():
    merges = cli.parse_merges('7:vertical,4:horizontal')
    assert make_spec('deit_tiny', merges).merges == ((4, 'horizontal'), (7, 'vertical')) and cli.parse_merges('') == ()
    assert cli.parse_merges('2.4:horizontal') == (('2.4', 'horizontal'), )
    with pytest.raises(UserError, match='--merge .* BLOCK:KIND'):
        cli.parse_merges('horizontal')


@pytest.mark.parametrize('sentence,wanted', [
    ('`target=1.2` is not a reduction', '--target 1.2 is not a reduction'),
    ('try `pad_to=0`, or a larger `target`', 'try --pad-to 0, or a larger --target'),
    ('give `shape=(64, 96)`; `cuda_graph=True` records', 'give --shape 64 96; --cuda-graph records'),
    ("`part='backbone'` and `merge=(('2.4', 'horizontal'),)`", '--part backbone and --merge 2.4 horizontal'),
    ('`other=3` is wrong, target=2 too', 'other=3 is wrong, target=2 too'),
    ('a larger `target`, or any (`target=None`)', 'a larger --target, or any (--force)'),
])
def test_parameters_of_the_library_are_options_on_the_command_line(capsys, sentence, wanted):
    def main():
        raise UserError(sentence)

    with pytest.raises(SystemExit) as stop:
        cli.run(main, ('target', 'pad_to', 'part', 'shape', 'merge', 'cuda_graph'), {'target=None': '--force'})
    assert stop.value.code == 2 and capsys.readouterr().err == f'error: {wanted}\n'
    with pytest.raises(SystemExit):
        cli.run(main)
    assert capsys.readouterr().err == f'error: {sentence.replace("`", "")}\n'
