"""What a command shows: a line for each step; bars on a terminal alone; everything else in the log."""
import fcntl
import io
import json
import os
import pty
import re
import runpy
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from conftest import ROOT

from cait_mm.config.screen import RELAY, Screen, Step, duration, screen
from cait_mm.errors import UserError

TOOL = """
import os, subprocess, sys, time
from pathlib import Path
from cait_mm.config.cli import report, run
from cait_mm.config.screen import screen
from cait_mm.errors import UserError

def main():
    words = sys.argv[1:]
    with screen(2, '--verbose' in words, json_path='-' if '--json' in words else None) as shown:
        with shown.step('count') as step:
            print('from python')
            os.write(1, b'from C\\n')
            subprocess.run(['sh', '-c', 'echo from a child >&2'])
            for done in range(5):
                step.at(done + 1, 5, 'things')
                time.sleep(0.25)
            step.outcome = 'all there'
        with shown.step('end') as step:
            if '--fail' in words:
                raise UserError('it went wrong')
            if '--bug' in words:
                raise ValueError('a bug')
            if '--wait' in words:
                time.sleep(30)
    report('done', {'a': 1}, '-' if '--json' in words else None)

run(main)
"""
NOISE = ('from python', 'from C', 'from a child')


@pytest.fixture
def script(tmp_path) -> Path:
    (tmp_path / 'tmp').mkdir()
    path = tmp_path / 'counting.py'
    path.write_text(TOOL)
    return path


def environment(script: Path, **more: str) -> dict[str, str]:
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'TMPDIR': str(script.parent / 'tmp'), 'TERM': 'xterm', **more}


def forked(script: Path, words: Sequence[str], streams: Mapping[int, int], **more: str) -> int:
    """Start it in a copy of this process, which has the libraries already; its process number."""
    child = os.fork()
    if child:
        return child
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # jobs of scripts ignore some
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        for number, target in streams.items():
            os.dup2(target, number)
        sys.stdout, sys.stderr = (open(number, 'w', closefd=False) for number in (1, 2))  # noqa: SIM115
        os.environ.update(environment(script, **more))
        sys.argv, tempfile.tempdir = [str(script), *words], None
        runpy.run_path(str(script), run_name='__main__')
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)
    except BaseException:
        sys.stdout.flush()
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def start(script: Path, *words: str, **more: str) -> subprocess.CompletedProcess:
    """Run it with its output in pipes."""
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        child = forked(script, words, {1: out.fileno(), 2: err.fileno()}, **more)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(words, status, out.read(), err.read())


def logs(script: Path) -> list[Path]:
    return sorted((script.parent / 'tmp').glob('counting-*.log'))


def on_terminal(script: Path, *words: str, number: int | None = None, columns: int = 0) -> tuple[int, str]:
    """Run it on a terminal, and with ``number`` send that signal in its second step; the status and what it drew."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack('4H', 24, columns, 0, 0))
    child = forked(script, words, {0: other, 1: other, 2: other})
    os.close(other)
    drawn = b''
    while True:
        try:
            piece = os.read(main, 4096)
        except OSError:  # the end of a terminal on Linux
            break
        drawn += piece
        if number and b'[2/2]' in drawn:
            os.kill(child, number)
            number = None
    os.close(main)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), drawn.decode()


def left_on_screen(drawn: str) -> list[str]:
    """The lines that stay, as a terminal shows them: what follows a carriage return replaces the line's beginning."""
    lines = []
    for line in drawn.replace('\r\n', '\n').split('\n'):
        shown = ''
        for part in line.split('\r'):
            shown = part + shown[len(part):]
        lines.append(shown.rstrip())
    return [line for line in lines if line]


def test_without_a_terminal_a_step_is_one_plain_line(script):
    done = start(script)
    assert done.returncode == 0 and done.stdout == 'done\n'
    assert re.fullmatch(r'\[1/2\] count \.\.\. \d+ s: all there\n\[2/2\] end \.\.\. 0 s\n', done.stderr), done.stderr
    assert not logs(script), 'nothing is left of a run that went well'


def test_json_is_alone_on_standard_output(script):
    done = start(script, '--json')
    assert json.loads(done.stdout) == {'a': 1} and done.stderr.endswith('done\n')


def test_verbose_brings_everything_back_in_whole_lines(script):
    done = start(script, '--verbose')
    assert all(noise in (done.stdout + done.stderr).splitlines() for noise in NOISE)
    assert '[1/2] count ...\n' in done.stderr
    assert re.search(r'^\[1/2\] count \.\.\. \d+ s: all there$', done.stderr, re.MULTILINE)


@pytest.mark.parametrize('words,status', [(['--fail'], 2), (['--bug'], 1)])
def test_an_error_names_the_log_which_holds_everything(script, words, status):
    done = start(script, *words)
    (log, ) = logs(script)
    assert done.returncode == status and f'[2/2] end ... stopped after 0 s\nthe log: {log}\n' in done.stderr
    assert sorted(log.read_text().splitlines()) == sorted(NOISE)
    assert done.stderr.splitlines()[-1] == ('error: it went wrong' if status == 2 else 'ValueError: a bug')


def test_on_a_terminal_a_bar_counts_and_tells_the_time_left(script):
    status, drawn = on_terminal(script)
    assert status == 0 and not any(noise in drawn for noise in NOISE)
    bars = re.findall(r'\[1/2\] count +(\d+)% \|[^|]+\| (\d)/5 things, (\d\d:\d\d|\?) left', drawn)
    assert list(dict.fromkeys(number for _, number, _ in bars)) == list('12345')
    assert bars[-1][0] == '100' and bars[-1][2] == '00:00'
    lines = left_on_screen(drawn)
    assert re.fullmatch(r'\[1/2\] count \.\.\. \d+ s: all there', lines[0]) and lines[-1] == 'done' and len(lines) == 3


def test_a_narrow_terminal_is_not_left(script):
    drawn = on_terminal(script, columns=60)[1]
    assert all(len(part) <= 60 for part in re.split(r'[\r\n]', drawn)) and '5 things' in drawn


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_line_and_is_one_more(script, number):
    status, drawn = on_terminal(script, '--wait', number=number)
    lines = left_on_screen(drawn)
    assert status == 128 + number and not logs(script)
    assert lines[1] == '[2/2] end ... stopped after 0 s' and lines[2].startswith('error: ') and len(lines) == 3


PARENT = """
import sys
from pathlib import Path
from cait_mm.config.cli import run
from cait_mm.config.screen import screen

def main():
    folder = Path(sys.argv[1])
    with screen(1, log=folder / 'all.log') as shown, shown.step('run it') as step:
        step.at = lambda *words: (folder / 'seen').open('a').write(f'{words}\\n')
        step.outcome = f'status {step.run([folder / "counting.py", *sys.argv[2:]], folder)}'

run(main)
"""


@pytest.fixture
def parent(script) -> Path:
    path = script.parent / 'parent.py'
    path.write_text(PARENT)
    return path


def test_a_command_shows_the_progress_of_one_that_it_runs(parent):
    done, folder = start(parent, str(parent.parent), '--fail'), parent.parent
    assert done.returncode == 0 and re.fullmatch(r'run it \.\.\. \d+ s: status 2\n', done.stderr), done.stderr
    seen = set((folder / 'seen').read_text().splitlines())
    assert seen <= {f"({number}, 5, 'things', '')" for number in range(1, 6)} and len(seen) > 2
    log = (folder / 'all.log').read_text()
    assert all(noise in log for noise in NOISE) and log.endswith('error: it went wrong\n')
    assert not (folder / '.progress.json').exists()


def test_a_signal_reaches_the_one_that_is_run(parent):
    with tempfile.TemporaryFile('w+') as err:
        child = forked(parent, [str(parent.parent), '--wait'], {2: err.fileno()})
        while not (parent.parent / 'seen').is_file():
            time.sleep(0.05)
        os.kill(child, signal.SIGTERM)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        err.seek(0)
        assert status == 143 and re.match(r'run it \.\.\. stopped after .*\nerror: stopped by SIGTERM', err.read())
    assert 'error: stopped by SIGTERM' in (parent.parent / 'all.log').read_text(), 'the child has ended by itself'


def test_a_named_log_is_added_to_and_kept(tmp_path, capfd):
    log = tmp_path / 'all.log'
    for text in ('first', 'second'):
        with screen(log=log) as shown, shown.step('print'):
            os.write(1, f'{text}\n'.encode())
    assert log.read_text() == 'first\nsecond\n' and capfd.readouterr().out == ''


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match='nowhere.*could not be written'), screen(log=tmp_path / 'nowhere' / 'all.log'):
        pass


def test_descriptors_are_as_before_also_after_an_error(capfd, tmp_path):
    with pytest.raises(KeyError), screen(log=tmp_path / 'all.log'):
        raise KeyError
    os.write(1, b'out')
    os.write(2, b'err')
    assert capfd.readouterr() == ('out', 'err')


def test_progress_is_written_at_most_some_times_a_second_but_its_end_is(tmp_path):
    step = Step('', relay=tmp_path / 'progress.json')
    for done in range(1001):
        step.at(done, 1000, 'things', 'a note')
    assert json.loads((tmp_path / 'progress.json').read_text()) == [1000, 1000, 'things', 'a note']
    step = Step('', relay=tmp_path / 'gone' / 'x' / 'progress.json')
    (tmp_path / 'gone').write_text('a file in its place')
    step.at(0, 1, 'things')  # a run goes on without its bar


def test_items_are_passed_on_unchanged():
    seen, step = [], Step('')
    step.at = lambda *words: seen.append(words)
    assert list(step.over('abc', 'letters')) == list('abc')
    assert seen == [(done, 3, 'letters') for done in range(4)]


def test_one_step_has_no_number_and_a_dumb_terminal_no_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv('TERM', 'dumb')
    out = Terminal()
    with Screen(out, 1).step('fold') as step:
        step.at(1, 2, 'things')
    assert out.getvalue() == 'fold ... 0 s\n'


@pytest.mark.parametrize('seconds,text', [(0.4, '0 s'), (59.6, '1 min 0 s'), (125, '2 min 5 s'), (4200, '1 h 10 min')])
def test_times_in_words(seconds, text):
    assert duration(seconds) == text


def test_the_relay_leaves_output_as_it_is(script):
    done = start(script, **{RELAY: str(script.parent / 'progress.json')})
    assert all(noise in done.stdout + done.stderr for noise in NOISE)
    assert json.loads((script.parent / 'progress.json').read_text()) == [5, 5, 'things', '']
