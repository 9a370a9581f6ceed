import json
import os
import zipfile
from pathlib import Path

import pytest

from cait_mm.errors import UserError
from cait_mm.utils.files import atomic_path, kept, newest_checkpoint, write_json


def checkpoint(path: Path) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', b'content')


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    write_json(path, {'a': 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text('half')
        raise RuntimeError
    assert json.loads(path.read_text()) == {'a': 1} and list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match=r'file/a\.json could not be written \(.+\): choose another place'):
        write_json(tmp_path / 'file' / 'a.json', {})


def test_tools_say_so(tool, tmp_path):
    (tmp_path / 'file').write_text('')
    for words in (['plan.py', '--arch', 'deit_tiny', '--target', 0.4, '--json', tmp_path / 'file' / 'a.json'],
                  ['make_scenes.py', tmp_path / 'file' / 'scenes']):
        status, _, err = tool(*words)
        assert status == 2 and 'could not be written' in err and 'Traceback' not in err


def test_a_run_that_was_killed_before_its_note_goes_on_from_its_furthest_checkpoint(tmp_path):
    assert newest_checkpoint(str(tmp_path)) is None
    for name in ('iter_100.pth', 'iter_20.pth', 'best_mIoU_iter_500.pth', '.iter_900.pth.abc.pth'):
        checkpoint(tmp_path / name)
    (tmp_path / 'iter_300.pth').write_bytes((tmp_path / 'iter_100.pth').read_bytes()[:-20])
    (tmp_path / 'iter_400.pth').mkdir()
    os.mkfifo(tmp_path / 'iter_500.pth')
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_100.pth')
    note = tmp_path / 'last_checkpoint'
    note.touch()
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_100.pth')
    for folder in (tmp_path, tmp_path / 'where_it_was_before'):
        note.write_text(str(folder / 'iter_20.pth'))
        assert newest_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_20.pth')
    note.write_text(str(tmp_path / 'iter_300.pth'))
    with pytest.raises(UserError, match=r'iter_300\.pth is damaged \(its end is missing\)'):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize('note', [
    b'http://host/a.pth', b'petrel://a/iter_20.pth', b'.', b'/dev/stdin', b'a\0b', b'\xff\xfe', b'x' * 3000,
    b'iter_500.pth', b'.iter_900.pth.abc.pth', b'one\ntwo', b' '])
def test_a_note_that_names_no_file_is_passed_over(tmp_path, note):
    checkpoint(tmp_path / 'iter_20.pth')
    checkpoint(tmp_path / '.iter_900.pth.abc.pth')
    os.mkfifo(tmp_path / 'iter_500.pth')
    (tmp_path / 'last_checkpoint').write_bytes(note)
    assert newest_checkpoint(tmp_path) == str(tmp_path / 'iter_20.pth')


def test_the_later_one_of_iterations_and_epochs_is_the_newest(tmp_path):
    for at, name in enumerate(('epoch_3.pth', 'iter_77.pth', 'epoch_4.pth')):
        checkpoint(tmp_path / name)
        os.utime(tmp_path / name, (at, at))
        assert newest_checkpoint(tmp_path) == str(tmp_path / name)


def test_what_is_kept_is_not_computed_again(tmp_path):
    found = iter([{'a': 1}])
    assert kept(tmp_path / 'a.json', lambda: next(found)) == kept(tmp_path / 'a.json', lambda: next(found)) == {'a': 1}
