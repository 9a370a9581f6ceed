import json
import os
import stat
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from cait_mm.errors import UserError
from cait_mm.utils.files import (
    atomic_path,
    kept,
    newest_checkpoint,
    remove_temporaries,
    require_file_place,
    require_folder_place,
    write_json,
)


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
    plan = ['plan.py', '--arch', 'deit_tiny', '--target', 0.4]
    for words, message in (([*plan, '--json', tmp_path / 'file' / 'a.json'], 'could not be written'),
                           ([*plan, '--json', tmp_path], 'is a folder'), ([*plan, '--json', '/dev/full'], 'No space'),
                           (['make_scenes.py', tmp_path / 'file' / 'scenes'], 'file is a file')):
        status, _, err = tool(*words)
        assert status == 2 and message in err and 'Traceback' not in err


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


def test_kept_results_are_not_computed_again(tmp_path):
    values, path = iter([{'a': 1}]), tmp_path / 'a.json'
    assert kept(path, lambda: next(values)) == kept(path, lambda: next(values)) == {'a': 1}


@pytest.mark.parametrize('link', [False, True])
def test_a_device_is_written_to_and_stays_one(tmp_path, link):
    path = Path('/dev/null')
    if link:
        path = tmp_path / 'link.json'
        path.symlink_to('/dev/null')
    require_file_place(path)
    write_json(path, {'a': 1})
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode) and (path.is_symlink() or not link)
    assert [item for item in tmp_path.iterdir() if item != path] == []


def test_a_full_device_is_a_sentence():
    with pytest.raises(UserError, match=r'/dev/full could not be written \(No space left on device\)'):
        write_json('/dev/full', {'a': 1})


def test_a_fifo_gets_the_content_and_stays_one(tmp_path):
    fifo, content = tmp_path / 'fifo.png', {'a': list(range(20000))}
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    write_json(fifo, content)
    reader.join()
    assert json.loads(read[0]) == content and stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_writer_that_seeks_can_write_to_a_descriptor(tmp_path):
    out = tmp_path / 'out'
    with open(out, 'wb', buffering=0) as file:
        file.write(b'before ')
        for name in (f'/dev/fd/{file.fileno()}', f'/proc/self/fd/{file.fileno()}'):
            with atomic_path(name) as temporary, open(temporary, 'wb') as target:
                target.write(b'half')
                target.seek(0)
                target.write(b'name')
        file.write(b' after')
    assert out.read_bytes() == b'before namename after'
    with pytest.raises(UserError, match=r'\(Bad file descriptor\)'):
        require_file_place('/dev/fd/999')


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    target, link, dangling = tmp_path / 'a' / 'target.json', tmp_path / 'link.json', tmp_path / 'dangling.json'
    write_json(target, 'old')
    target.chmod(0o600)
    with open(target) as reader:
        link.symlink_to('a/target.json')
        write_json(link, 'new')
        assert json.loads(reader.read()) == 'old', 'replaced, not overwritten'
    assert link.is_symlink() and json.loads(target.read_text()) == 'new'
    assert stat.S_IMODE(target.stat().st_mode) == 0o600, 'its mode is kept'
    dangling.symlink_to(tmp_path / 'later' / 'b.json')
    write_json(dangling, 'there')
    assert dangling.is_symlink() and json.loads((tmp_path / 'later' / 'b.json').read_text()) == 'there'
    assert sorted(item.name for item in target.parent.iterdir()) == ['target.json']


def test_a_loop_of_links_and_a_folder_are_sentences(tmp_path):
    (tmp_path / 'a').symlink_to('b')
    (tmp_path / 'b').symlink_to('a')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'to_folder').symlink_to('folder')
    for look in (require_file_place, lambda path: write_json(path, {})):
        with pytest.raises(UserError, match='a could not be written .*(levels of symbolic links|symlink)'):
            look(tmp_path / 'a')
        for name in ('folder', 'to_folder'):
            with pytest.raises(UserError, match=f'{name} is a folder: name a file in it'):
                look(tmp_path / name)
    assert (tmp_path / 'a').is_symlink() and not list((tmp_path / 'folder').iterdir())


def test_a_place_is_looked_at_before_the_work(tmp_path):
    (tmp_path / 'file').touch()
    for path in (tmp_path / 'new' / 'deep', tmp_path):
        require_folder_place(path)
    require_file_place(tmp_path / 'new' / 'a.json')
    for path in (tmp_path / 'file', tmp_path / 'file' / 'deep'):
        with pytest.raises(UserError, match='cannot be a folder, because .*file is a file'):
            require_folder_place(path)
    with pytest.raises(UserError, match=r'a\.json could not be written \(Not a directory\)'):
        require_file_place(tmp_path / 'file' / 'a.json')
    assert [item.name for item in tmp_path.iterdir()] == ['file']


def test_only_files_of_a_killed_process_are_removed(tmp_path):
    mine = [tmp_path / name for name in ('.a.pth', '.unfinished-notes', 'a.unfinished-abcdefgh.pth', '.b.12345678.pth')]
    for path in mine:
        path.touch()
    for name in ('epoch_1.pth', 'last_checkpoint', 'n' * 200 + '.json'):
        with suppress(RuntimeError), atomic_path(tmp_path / name) as temporary:
            raise RuntimeError
        temporary.touch()  # as after a kill
    remove_temporaries(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(mine)
