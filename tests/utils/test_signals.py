import os
import select
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from cait_mm.config import cli
from cait_mm.utils.files import atomic_path
from cait_mm.utils.signals import SIGNALS, Stopped, leave_stopping_to_parent


@pytest.fixture(autouse=True)
def _handlers():
    """A process that was asked to stop keeps its handlers; this one lives on. Nohup and scripts' jobs ignore some."""
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
                                                               signal.SIGUSR1)}
    for number, handler in earlier.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize('number,said', [
    (signal.SIGINT, 'error: interrupted; earlier files are kept.\n'),
    (signal.SIGTERM, 'error: stopped by SIGTERM; earlier files are kept.\n'),
    (signal.SIGHUP, 'error: stopped by SIGHUP; earlier files are kept.\n'),
    (signal.SIGUSR1, 'error: stopped by SIGUSR1; earlier files are kept.\n'),
])
def test_a_signal_is_one_line_and_nothing_half_written_stays(capsys, tmp_path, number, said):
    def main():
        with atomic_path(tmp_path / 'a.json'):
            send(number)

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == 128 + number and capsys.readouterr().err == said and not list(tmp_path.iterdir())


def test_an_exception_that_a_library_made_of_a_signal_is_that_signal_again(capsys):
    def main():
        try:
            send(signal.SIGINT)
        except:  # noqa: E722 as MMEngine does where it formats a config
            raise SyntaxError('Failed to format the config file') from None

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    assert stop.value.code == 130 and capsys.readouterr().err.startswith('error: interrupted;')


def test_a_training_only_notes_the_signal_and_one_that_is_passed_on_is_the_same():
    with pytest.raises(Stopped), SIGNALS.handled():
        SIGNALS.noting = True
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            send(number)
        assert SIGNALS.received == signal.SIGTERM
        raise Stopped(SIGNALS.received)


def test_handlers_are_put_back_and_ignored_signals_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    before = signal.getsignal(signal.SIGTERM)
    with SIGNALS.handled():
        send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is SIGNALS
    assert signal.getsignal(signal.SIGTERM) is before and SIGNALS.received is None


def test_a_loaders_process_leaves_for_its_parent_alone():
    child = os.fork()
    if not child:
        leave_stopping_to_parent()
        time.sleep(30)
        os._exit(1)
    time.sleep(0.3)
    other = subprocess.run(['sh', '-c', f'kill -TERM {child}; kill -INT {child}; kill -USR1 {child}'])
    time.sleep(0.2)
    assert other.returncode == 0 and os.waitpid(child, os.WNOHANG) == (0, 0), 'a scheduler\'s signals are not for it'
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize('name', sorted(path.name for path in (ROOT / 'tools').glob('[a-z]*.py')))
def test_every_tool_is_ready_for_signals_before_it_loads_a_library(name):
    lines = (ROOT / 'tools' / name).read_text().split('"""', 2)[2].strip().splitlines()
    assert lines[0].startswith('import _early ')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_load_is_one_line(tmp_path, number):
    slow = tmp_path / 'timm'  # any library that tools load
    slow.mkdir()
    (slow / '__init__.py').write_text('import os, time\nos.write(1, b"loading")\ntime.sleep(60)\n')
    process = subprocess.Popen([sys.executable, 'tools/plan.py'], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': f'{tmp_path}:{ROOT}'})
    process.stdout.read(7)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number and err.count(b'\n') == 1 and err.endswith(b'; nothing was started.\n')


def test_a_child_is_told_to_stop_and_waited_for(tmp_path):
    code = ('import os, pathlib, signal, sys, time\n'
            'def save(*_):\n    time.sleep(1.5)\n    pathlib.Path(sys.argv[1]).touch()\n    sys.exit(143)\n'
            'signal.signal(signal.SIGTERM, save)\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\n')
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: cli.run_child(['-c', code, tmp_path / 'saved'])[0])
    assert stop.value.code == 143 and (tmp_path / 'saved').is_file()


def test_output_that_nobody_reads_ends_quietly():
    code = ('from cait_mm.config.cli import run\n'
            'run(lambda: print("\\n".join(map(str, range(100000)))))')
    done = subprocess.run(f'"{sys.executable}" -c \'{code}\' | head -1; exit ${{PIPESTATUS[0]}}', shell=True, text=True,
                          executable='bash', capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (141, '0\n', '')


def test_a_loaders_process_does_not_outlive_a_killed_parent():
    reader, writer = os.pipe()
    parent = os.fork()
    if not parent:
        if not os.fork():
            leave_stopping_to_parent()
            os.write(writer, b'.')
            time.sleep(60)  # PyTorch's waits to hand over its batch
            os._exit(1)
        time.sleep(60)
    os.close(writer)
    assert os.read(reader, 1) == b'.'
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert select.select([reader], [], [], 20)[0] and os.read(reader, 1) == b'', 'its end of the pipe is closed'
