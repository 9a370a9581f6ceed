import json

import pytest

from cait_mm.errors import UserError
from cait_mm.utils.files import atomic_path, write_json


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
