import os
import re
import signal
import subprocess
import sys
import time

import pytest

from cait_mm.errors import UserError
from cait_mm.utils import lock
from cait_mm.utils.lock import NAME, locked

HOLD = """
import multiprocessing, pathlib, sys, time
from cait_mm.utils.files import atomic_path
from cait_mm.utils.lock import locked
with locked(sys.argv[1]), atomic_path(sys.argv[1] + '/a.pth') as temporary:
    child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(30, ), daemon=True)
    child.start()
    pathlib.Path(sys.argv[1], 'ready').write_text(str(child.pid))
    time.sleep(60)
"""


def test_a_folder_belongs_to_one_process_until_it_dies_however_it_dies(tmp_path):
    folder = tmp_path / 'new' / 'run'
    holder = subprocess.Popen([sys.executable, '-c', HOLD, str(folder)])
    try:
        deadline = time.time() + 120
        while not (folder / 'ready').is_file() and time.time() < deadline:
            time.sleep(0.05)
        with pytest.raises(UserError, match=re.escape(f'{folder} is in use by process {holder.pid} on ')), \
                locked(folder):
            raise AssertionError('locked twice')
        assert len(list(folder.glob('*unfinished*'))) == 1, 'what a living process writes stays'
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    child = int((folder / 'ready').read_text())
    os.kill(child, 0)  # a loader's process lives on for some seconds, without the lock
    with locked(folder):
        assert {path.name for path in folder.iterdir()} == {NAME, 'ready'}, 'the half-written file is gone'
    assert [path.name for path in folder.iterdir()] == ['ready']
    os.kill(child, signal.SIGKILL)


def test_a_lock_that_its_owner_removes_meanwhile_is_taken_again(tmp_path, monkeypatch):
    real, calls = lock.fcntl.lockf, []

    def removed_first(file, how):
        if not calls:
            (tmp_path / NAME).unlink()
        calls.append(file)
        real(file, how)

    monkeypatch.setattr(lock.fcntl, 'lockf', removed_first)
    with locked(tmp_path):
        assert len(calls) == 2 and (tmp_path / NAME).read_text().startswith(f'process {os.getpid()} on ')


@pytest.mark.parametrize('why', ['no locks here', 'no fcntl'])
def test_a_file_system_without_locks_is_said_and_used(tmp_path, monkeypatch, capsys, why):
    def none(file, how):
        raise OSError(37, 'No locks available')

    if why == 'no fcntl':
        monkeypatch.setattr(lock, 'fcntl', None)
    else:
        monkeypatch.setattr(lock.fcntl, 'lockf', none)
    with locked(tmp_path):
        pass
    assert 'cannot be locked here' in capsys.readouterr().err


def test_a_link_that_leads_nowhere_yet_becomes_a_folder_and_a_file_is_a_sentence(tmp_path):
    (tmp_path / 'link').symlink_to('later')
    with locked(tmp_path / 'link'):
        assert (tmp_path / 'later').is_dir()
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='file is a file'), locked(tmp_path / 'file'):
        raise AssertionError
